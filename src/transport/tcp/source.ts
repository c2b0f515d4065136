/**
 * Serves one frozen image over TCP to any number of destinations, from one thread. Demand connections are looked
 * at first in every turn; bulk gets one quantum a turn, the connections taking turns, so that a demand request
 * waits for one quantum of bulk at most, and a heavy destination cannot starve a light one.
 */
import { BULK_QUANTUM_BYTES } from '../../config.ts'
import { FaultlaneError } from '../../errors.ts'
import { isOn } from '../../levels.ts'
import type { ImageDescription } from '../../memory/image.ts'
import { ImageReaders } from '../../memory/image-reader.ts'
import { ERRNO, errnoName, POLL, SOCK } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { PollSet } from '../../native/poll-set.ts'
import { formatTcpUrl, listenTcp, parseTcpUrl } from '../../native/socket.ts'
import type { SourceAgent, SourceOptions, SourceStats } from '../source.ts'
import { type Arrivals, Connection } from './connection.ts'
import { DemandShare } from './demand-share.ts'
import { Quantum } from './quantum.ts'
import { SourceLink } from './source-link.ts'
import { type LaneTuning, sourceTuning } from './tuning.ts'
import { LANE_CODE } from './wire.ts'

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
/** While turns follow each other without a park, poll(2) is asked for newcomers this often. */
const TURNS_PER_POLL = 16
/** With more demand connections than this, poll(2) tells which to read; below, reading at once is cheaper. */
const DIRECT_READS_MAX = 4

export class TcpSource implements SourceAgent {
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
  readonly #readers: ImageReaders
  readonly #options: SourceOptions
  readonly #listenFd: number
  readonly #poll = new PollSet(CONNECTIONS_MAX + SLOT_FIRST)
  readonly #peer = new NativeBuffer(40)
  readonly #link: SourceLink | undefined
  readonly #tuning: LaneTuning
  readonly #arrivals: Arrivals = { count: 0 }
  readonly #isDemandFirst: boolean
  readonly #isFair: boolean
  readonly #quantum: Quantum
  readonly #share: DemandShare
  readonly #giveWay: () => void
  #connections: Connection[] = []
  #nextBulk = 0
  #turn = 0
  #lookForSilentAtMs = 0
  #acceptAgainAtMs = 0
  #demandCount = 0

  constructor(url: string, image: ImageDescription, options: SourceOptions) {
    const { fd, address } = listenTcp(parseTcpUrl(url))
    this.#listenFd = fd
    this.url = formatTcpUrl(address)
    this.#readers = new ImageReaders(image)
    this.#options = options
    this.#giveWay = options.giveWay ?? (() => {})
    const { without } = options
    this.#tuning = sourceTuning(without, options.paceBytesPerSecond)
    this.#isDemandFirst = isOn('order', without)
    this.#isFair = isOn('fair', without)
    this.#quantum = new Quantum(isOn('quantum', without))
    this.#share = new DemandShare(this.#isFair)
    this.#link = options.link === undefined ? undefined : new SourceLink(options.link, options)
    this.#poll.set(SLOT_WAKE, options.wakeFd, POLL.IN)
    this.#poll.set(SLOT_LISTEN, fd, POLL.IN)
  }

  doWork(): number {
    if (++this.#turn % TURNS_PER_POLL === 0) this.#wait(0)
    if (this.#link) return this.#linkTurn(this.#link)
    const connections = this.#connections
    let work = 0
    let isMoreAsked = false
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      if (connection.lane !== LANE_CODE.demand) continue
      work += this.#receiveDemand(connection)
      if (!this.#isDemandFirst) continue
      work += this.#answerDemand(connection)
      isMoreAsked ||= canAnswer(connection)
    }
    this.#quantum.onTurn(work > 0)
    if (work > 0 && this.#isDemandFirst) this.#giveWay()
    work += this.#receiveOthers()
    if (!this.#isDemandFirst) return work + this.#answerOldest()
    return this.#share.keepsBulkBack(isMoreAsked) ? work : work + this.#answerBulk()
  }

  /** Behind an emulated link what is asked enters the link in the link's order, and is handed on as it arrives. */
  #linkTurn(link: SourceLink): number {
    const connections = this.#connections
    let work = 0
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      if (connection.lane === LANE_CODE.demand) work += this.#receiveDemand(connection)
    }
    work += this.#receiveOthers() + link.fill(connections)
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      if (connection.lane === LANE_CODE.demand) work += this.#answerDemand(connection)
    }
    return work + this.#answerBulk()
  }

  #receiveDemand(connection: Connection): number {
    if (!connection.isReadable && this.#demandCount > DIRECT_READS_MAX) return 0
    const received = connection.receive()
    if (received > 0) this.#share.onAsked(connection.fd)
    return received
  }

  #answerDemand(connection: Connection): number {
    if (!connection.hasQueued && !connection.isSending) return 0
    return connection.answer(this.#share.readsMax, BULK_QUANTUM_BYTES)
  }

  /** What connections have said that are not demand; who has ended is let go. */
  #receiveOthers(): number {
    const connections = this.#connections
    let work = 0
    let ended = false
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      if (connection.isReadable && connection.lane !== LANE_CODE.demand && connection.endReason === '') {
        const laneBefore = connection.lane
        work += connection.receive()
        if (connection.lane !== laneBefore) this.#count()
      }
      if (connection.endReason !== '') ended = true
    }
    if (ended) this.#sweep()
    return work
  }

  /** One quantum for one connection that is not demand: the next in turn that has something to send. */
  #answerBulk(): number {
    const connections = this.#connections
    if (!this.#isFair) this.#nextBulk = connections.length - 1
    for (let n = 0; n < connections.length; n++) {
      this.#nextBulk = (this.#nextBulk + 1) % connections.length
      const connection = connections[this.#nextBulk] as Connection
      if (connection.lane === LANE_CODE.demand || connection.endReason !== '') continue
      if (connection.hasQueued || connection.isSending) {
        const sent = connection.answer(this.#quantum.readsMax, this.#quantum.bytesMax)
        if (sent > 0) return sent
      }
    }
    return 0
  }

  /** One request, of whichever lane, in the order of arrival (level `order` off). A full socket is passed over. */
  #answerOldest(): number {
    const connections = this.#connections
    let work = 0
    let oldest: Connection | undefined
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      if (connection.endReason !== '') continue
      if (connection.isSending) work += connection.answer(0, this.#quantum.bytesMax)
      if (connection.isBlocked || !connection.hasQueued) continue
      if (!oldest || connection.oldestArrival < oldest.oldestArrival) oldest = connection
    }
    return oldest ? work + oldest.answer(1, this.#quantum.bytesMax) : work
  }

  park(timeoutMs: number): void {
    if (this.#link) {
      const sleepMs = this.#link.sleepMs(this.#connections, timeoutMs)
      if (sleepMs === 0) this.#libc.sched_yield() // The last microseconds are spun, giving way.
      this.#wait(sleepMs)
    } else this.#wait(this.#connections.some(canAnswer) ? 0 : timeoutMs)
  }

  #wait(timeoutMs: number): void {
    const connections = this.#connections
    const beganMs = performance.now()
    this.#poll.set(SLOT_LISTEN, beganMs < this.#acceptAgainAtMs ? -1 : this.#listenFd, POLL.IN)
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as Connection
      const wanted = connection.hasRoom ? POLL.IN : 0
      this.#poll.set(SLOT_FIRST + i, connection.fd, connection.isBlocked ? wanted | POLL.OUT : wanted)
    }
    this.#poll.truncate(SLOT_FIRST + connections.length)
    const ready = this.#poll.wait(timeoutMs)
    if (ready === 0 && timeoutMs > 0) this.#link?.onWoken()
    if (beganMs >= this.#lookForSilentAtMs) this.#dropSilent(beganMs)
    if (ready === 0) return
    for (let i = 0; i < connections.length; i++) {
      if ((this.#poll.revents(SLOT_FIRST + i) & ~POLL.OUT) !== 0)
        (connections[i] as Connection).isReadable = true
    }
    if (this.#poll.revents(SLOT_LISTEN) !== 0) this.#accept()
  }

  #accept(): void {
    const peer = this.#peer
    for (;;) {
      peer.i32[8] = 32
      const fd = this.#libc.accept4(
        this.#listenFd,
        peer.address,
        peer.address + 32,
        SOCK.NONBLOCK | SOCK.CLOEXEC,
      )
      if (fd < 0) {
        const errno = this.#libc.errno()
        if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return
        this.#refuse('a newcomer', `accept failed with ${errnoName(errno)}`)
        this.#acceptAgainAtMs = performance.now() + ACCEPT_AGAIN_MS // The newcomer is still there, and would be for ever.
        return
      }
      const port = ((peer.u8[2] as number) << 8) | (peer.u8[3] as number)
      if (this.#connections.length >= CONNECTIONS_MAX) {
        this.#refuse(`port ${port}`, `${CONNECTIONS_MAX} connections are open`)
        this.#libc.close(fd)
        continue
      }
      this.#connections.push(
        new Connection(
          fd,
          `port ${port}`,
          this.#readers,
          this.stats,
          performance.now(),
          this.#tuning,
          this.#arrivals,
          this.#link,
        ),
      )
      this.#count()
    }
  }

  #dropSilent(now: number): void {
    this.#lookForSilentAtMs = now + LOOK_FOR_SILENT_MS
    for (const connection of this.#connections) {
      if (connection.lane === 0 && now - connection.openedAtMs > HELLO_MS_MAX)
        connection.endReason = 'it did not say hello'
    }
    if (this.#connections.some((connection) => connection.endReason !== '')) this.#sweep()
  }

  #sweep(): void {
    for (const connection of this.#connections) {
      if (connection.endReason === '') continue
      if (connection.endReason !== 'closed') this.#refuse(connection.peer, connection.endReason)
      connection.close()
    }
    this.#connections = this.#connections.filter((connection) => connection.endReason === '')
    this.#nextBulk = 0
    this.#count()
  }

  #count(): void {
    this.#demandCount = this.#connections.filter((connection) => connection.lane === LANE_CODE.demand).length
    this.stats.channels = this.#connections.filter(
      (connection) => connection.lane > LANE_CODE.describe,
    ).length
  }

  #refuse(peer: string, reason: string): void {
    this.stats.refused++
    this.#options.onRefused?.(`${peer}: ${reason}`)
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
    this.#connections = []
    this.#libc.close(this.#listenFd)
  }
}

/** More was asked for than a turn answers, and the socket takes it: no descriptor will announce that. */
const canAnswer = (connection: Connection): boolean => connection.hasQueued && !connection.isBlocked

export function listenTcpSource(url: string, image: ImageDescription, options: SourceOptions): SourceAgent {
  if (image.bytes === 0)
    throw new FaultlaneError({ code: 'IMAGE_GEOMETRY', path: image.name, bytes: 0, pageSize: 4096 })
  return new TcpSource(url, image, options)
}
