/**
 * Lets destinations on this host map the frozen image. Owned by one thread, never blocks in a turn.
 * It answers one hello per connection with the image's descriptor and then only keeps the connection open, and in mind
 * what its destination would leave behind: destinations read the mapping without the source's CPU, so its stats
 * count channels and no pages.
 */
import type { ImageDescription } from '../../memory/image.ts'
import { ERRNO, errnoName, MSG, OPEN, POLL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { check, type Libc, libc } from '../../native/libc.ts'
import { PollSet } from '../../native/poll-set.ts'
import {
  DescriptorMessages,
  PEER_BYTES,
  peerUid,
  UnixListener,
  WOULD_BLOCK,
} from '../../native/unix-socket.ts'
import type { SourceAgent, SourceOptions, SourceStats } from '../source.ts'
import type { SocketFile } from '../transport.ts'
import { sealedExtents } from './extents.ts'
import { LeftFiles } from './left-files.ts'
import { decodeNotice } from './notice.ts'
import {
  EXTENTS_UNKNOWN,
  HELLO,
  HELLO_BYTES,
  LANE_CODE,
  NOTICE_BYTES,
  pathOfUrl,
  SHARE_VERSION,
  type ShareProtocol,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
} from './wire.ts'

/** A connection that has not said hello by then is closed. */
const HELLO_MS_MAX = 10_000
/** How often somebody looks for such connections. */
const LOOK_FOR_SILENT_MS = 1000
/** Until the next try, when a newcomer could not be accepted: no descriptor is free, say. */
const ACCEPT_AGAIN_MS = 100
const CONNECTIONS_MAX = 1024
const SLOT_WAKE = 0
const SLOT_LISTEN = 1
const SLOT_FIRST = 2

interface Connection {
  readonly fd: number
  readonly openedAtMs: number
  /** 0 until the hello has come; then one of LANE_CODE. */
  lane: number
  /** The message that is coming in: the hello, then a notice; and how much of it is here. */
  readonly message: NativeBuffer
  messageBytes: number
  /** What the destination leaves behind should it be killed. */
  socketFile: SocketFile | undefined
  /** Why it is to be closed; '' while it lives, 'closed' when the destination hung up. */
  endReason: string
}

export class ImageShare implements SourceAgent {
  readonly url: string
  readonly stats: SourceStats = {
    channels: 0,
    pagesSent: 0,
    zeroPagesSent: 0,
    bytesSent: 0,
    errorsSent: 0,
    refused: 0,
  }
  readonly #libc: Libc = libc()
  readonly #protocol: ShareProtocol
  readonly #image: ImageDescription
  readonly #options: SourceOptions
  readonly #listener: UnixListener
  /** What destinations get: the image, readable only, and its extents. */
  readonly #shared: number[]
  readonly #messages = new DescriptorMessages()
  readonly #welcome = new NativeBuffer(WELCOME_BYTES)
  readonly #poll = new PollSet(CONNECTIONS_MAX + SLOT_FIRST)
  readonly #leftFiles = new LeftFiles()
  readonly #peer = new NativeBuffer(PEER_BYTES)
  #connections: Connection[] = []
  #lookForSilentAtMs = 0
  #acceptAgainAtMs = 0
  #isClosed = false

  /** @param makeExtraFds makes what destinations get besides; ours to close */
  constructor(
    protocol: ShareProtocol,
    url: string,
    image: ImageDescription,
    options: SourceOptions,
    makeExtraFds: () => readonly number[] = () => [],
  ) {
    const path = pathOfUrl(url, protocol)
    this.#protocol = protocol
    this.url = url
    this.#image = image
    this.#options = options
    this.#listener = new UnixListener(path)
    try {
      // A second, read-only opening of the same file: a descriptor of a memfd that we filled could be written.
      const own = `/proc/self/fd/${image.fd}`
      this.#shared = [check(libc().open(own, OPEN.RDONLY | OPEN.CLOEXEC, 0), 'open', `image ${image.name}`)]
      if (image.extents) this.#shared.push(sealedExtents(image.extents))
      this.#shared.push(...makeExtraFds())
    } catch (error) {
      this.#listener.close()
      throw error
    }
    this.#poll.set(SLOT_WAKE, options.wakeFd, POLL.IN)
    this.#poll.set(SLOT_LISTEN, this.#listener.fd, POLL.IN)
  }

  doWork(): number {
    return this.#turn(0)
  }

  park(timeoutMs: number): void {
    this.#turn(timeoutMs)
  }

  /** Everything here begins with a descriptor becoming readable, so a turn is one poll(2) and what it found. */
  #turn(timeoutMs: number): number {
    const connections = this.#connections
    const beganMs = performance.now()
    this.#poll.set(SLOT_LISTEN, beganMs < this.#acceptAgainAtMs ? -1 : this.#listener.fd, POLL.IN)
    for (let i = 0; i < connections.length; i++) {
      this.#poll.set(SLOT_FIRST + i, (connections[i] as Connection).fd, POLL.IN)
    }
    this.#poll.truncate(SLOT_FIRST + connections.length)
    const ready = this.#poll.wait(this.#leftFiles.parkMs(timeoutMs))
    let work = 0
    let ended = beganMs >= this.#lookForSilentAtMs && this.#markSilent(beganMs)
    for (let i = 0; ready > 0 && i < connections.length; i++) {
      if (this.#poll.revents(SLOT_FIRST + i) === 0) continue
      const connection = connections[i] as Connection
      this.#receive(connection)
      if (connection.endReason !== '') ended = true
      work++
    }
    if (ready > 0 && this.#poll.revents(SLOT_LISTEN) !== 0) work += this.#accept()
    if (ended) this.#sweep()
    this.#leftFiles.retry(performance.now())
    if (work > 0) this.#count()
    return work
  }

  #accept(): number {
    let accepted = 0
    for (; accepted < CONNECTIONS_MAX; accepted++) {
      const fd = this.#tryAccept()
      if (fd === WOULD_BLOCK) break
      if (this.#connections.length >= CONNECTIONS_MAX) {
        this.#refuse('a newcomer', `${CONNECTIONS_MAX} connections are open`)
        this.#libc.close(fd)
        continue
      }
      this.#connections.push({
        fd,
        openedAtMs: performance.now(),
        lane: 0,
        message: new NativeBuffer(NOTICE_BYTES),
        messageBytes: 0,
        socketFile: undefined,
        endReason: '',
      })
    }
    return accepted
  }

  #tryAccept(): number {
    try {
      return this.#listener.tryAccept()
    } catch (error) {
      this.#acceptAgainAtMs = performance.now() + ACCEPT_AGAIN_MS
      this.#refuse('a newcomer', (error as Error).message) // No descriptor is free: those who are here stay served.
      return WOULD_BLOCK
    }
  }

  /** The hello; after it come notices on the demand lane, and on the others nothing but the end. */
  #receive(connection: Connection): void {
    const { fd, lane, message, messageBytes } = connection
    const wanted = lane === 0 ? HELLO_BYTES : NOTICE_BYTES
    const got = this.#libc.recv(fd, message.address + messageBytes, wanted - messageBytes, MSG.DONTWAIT)
    if (got < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return
      connection.endReason = errno === ERRNO.ECONNRESET ? 'closed' : `recv failed with ${errnoName(errno)}`
    } else if (got === 0) {
      const isEarly = lane === 0 && messageBytes > 0
      connection.endReason = isEarly
        ? `it closed after ${messageBytes} of ${HELLO_BYTES} hello bytes`
        : 'closed'
    } else if (lane !== 0 && lane !== LANE_CODE.demand) {
      connection.endReason = 'it sent more than its hello'
    } else {
      connection.messageBytes += got
      if (connection.messageBytes < wanted) return
      connection.messageBytes = 0
      if (lane === 0) this.#answer(connection)
      else this.#takeNotice(connection)
    }
  }

  /** A file of another user is none of our business, whatever we could do to it. */
  #takeNotice(connection: Connection): void {
    const file = decodeNotice(connection.message)
    if (typeof file === 'string') connection.endReason = file
    else if (file && peerUid(connection.fd, this.#peer) !== this.#libc.geteuid()) return
    else connection.socketFile = file
  }

  #answer(connection: Connection): void {
    const hello = connection.message.u32
    if (hello[HELLO.MAGIC] !== this.#protocol.helloMagic) {
      const bytes = [...connection.message.u8.subarray(0, 8)]
        .map((b) => b.toString(16).padStart(2, '0'))
        .join(' ')
      connection.endReason = `it does not speak our protocol: its first bytes are ${bytes}`
      return
    }
    const lane = hello[HELLO.LANE] as number
    const pageBytes = hello[HELLO.PAGE_BYTES] as number
    const isPowerOfTwo = pageBytes >= 4096 && (pageBytes & (pageBytes - 1)) === 0
    let status: number = STATUS.OK
    if (hello[HELLO.VERSION] !== SHARE_VERSION) status = STATUS.BAD_VERSION
    else if (lane < LANE_CODE.describe || lane > LANE_CODE.prefault) status = STATUS.BAD_LANE
    else if (!isPowerOfTwo || this.#image.bytes % pageBytes !== 0) status = STATUS.BAD_PAGE_SIZE

    const { id, bytes, extents } = this.#image
    const welcome = this.#welcome
    welcome.u32[WELCOME.MAGIC] = this.#protocol.welcomeMagic
    welcome.u32[WELCOME.VERSION] = SHARE_VERSION
    welcome.u32[WELCOME.STATUS] = status
    welcome.u32[WELCOME.PAGE_BYTES] = pageBytes
    welcome.setU64(WELCOME.BYTES_LOW * 4, bytes)
    welcome.u32[WELCOME.IMAGE_LOW] = Number.parseInt(id.slice(8), 16)
    welcome.u32[WELCOME.IMAGE_HIGH] = Number.parseInt(id.slice(0, 8), 16)
    welcome.u32[WELCOME.EXTENT_PAIRS] = extents ? extents.length / 2 : EXTENTS_UNKNOWN
    try {
      const fds = status === STATUS.OK ? this.#shared : []
      const sent = this.#messages.send(connection.fd, welcome.address, WELCOME_BYTES, fds)
      // A fresh socket's buffer is empty, so the welcome goes out whole or the connection is no good.
      if (sent !== WELCOME_BYTES) connection.endReason = `it took ${sent} of ${WELCOME_BYTES} welcome bytes`
    } catch (error) {
      connection.endReason = (error as Error).message
    }
    if (status === STATUS.OK) connection.lane = lane
    else {
      connection.endReason = `refused with status ${status} (version ${hello[HELLO.VERSION]}, lane ${lane}, page size ${pageBytes})`
    }
  }

  #markSilent(now: number): boolean {
    this.#lookForSilentAtMs = now + LOOK_FOR_SILENT_MS
    let some = false
    for (const connection of this.#connections) {
      if (connection.lane !== 0 || now - connection.openedAtMs <= HELLO_MS_MAX) continue
      connection.endReason = 'it did not say hello'
      some = true
    }
    return some
  }

  #sweep(): void {
    for (const connection of this.#connections) {
      if (connection.endReason === '') continue
      if (connection.endReason !== 'closed') this.#refuse('a destination', connection.endReason)
      else if (connection.socketFile) this.#leftFiles.add(connection.socketFile, performance.now())
      this.#libc.close(connection.fd)
    }
    this.#connections = this.#connections.filter((connection) => connection.endReason === '')
    this.#count()
  }

  #count(): void {
    let channels = 0
    for (const connection of this.#connections) if (connection.lane > LANE_CODE.describe) channels++
    this.stats.channels = channels
  }

  #refuse(peer: string, reason: string): void {
    this.stats.refused++
    this.#options.onRefused?.(`${peer}: ${reason}`)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#listener.close() // First: whoever sees its connection end finds no listener that does not answer any more.
    for (const connection of this.#connections) this.#libc.close(connection.fd)
    this.#connections = []
    for (const fd of this.#shared) this.#libc.close(fd)
  }
}
