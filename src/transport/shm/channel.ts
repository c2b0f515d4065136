/**
 * One lane's road to a source on the same host: the frozen image is mapped here, read-only, and a read is answered
 * from the mapping in the next poll(). No byte is copied on the way to `onCompletion`, and the source's CPU takes no
 * part. Owned by one thread.
 *
 * When the source is lost the mapping stays and would still read, but who promised that the image is frozen has
 * gone: a file may now be rewritten, and its own loss is what the destination's `--on-loss` policy acts on. So a
 * channel gives no page after its source: every poll() first looks whether the socket has ended, and once it has,
 * throws CHANNEL_CLOSED, whatever is posted. What was delivered before came from an image that was then still held.
 */
import { CONNECT_TIMEOUT_MS, DEMAND_CREDITS, PREFAULT_CREDITS } from '../../config.ts'
import { FaultlaneError } from '../../errors.ts'
import { ImageReader } from '../../memory/image.ts'
import { ERRNO, errnoName, MAP, MSG, POLL, PROT } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { check, type Libc, libc } from '../../native/libc.ts'
import type { Channel, ChannelOptions, CompletionSink, ImageInfo, Lane } from '../transport.ts'
import { COMPLETION } from '../transport.ts'
import { type Greeted, greet } from './greet.ts'

/**
 * Bytes of one read at most, and so the most that one poll() looks through for one completion: 1 MiB, about 100 µs
 * of scanning when all of it is zero. A page larger than that is a read of its own.
 */
const READ_BYTES_MAX = 1 << 20

export function openShmChannel(url: string, lane: Lane, options: ChannelOptions = {}): ShmChannel {
  const greeted = greet(url, lane, options.pageSize ?? 4096, options.timeoutMs ?? CONNECT_TIMEOUT_MS)
  const { bytes, imageFd, socket } = greeted
  try {
    const flags = MAP.SHARED | MAP.NORESERVE
    const address = check(libc().mmap(0, bytes, PROT.READ, flags, imageFd, 0), 'mmap', `the image of ${url}`)
    return new ShmChannel(url, lane, greeted, address)
  } catch (error) {
    libc().close(socket)
    throw error
  } finally {
    libc().close(imageFd)
  }
}

export class ShmChannel implements Channel {
  readonly lane: Lane
  readonly info: ImageInfo
  readonly readPagesMax: number
  readonly creditsMax: number
  bytesReceived = 0
  readonly #libc: Libc = libc()
  readonly #url: string
  readonly #bytes: number
  readonly #peeked = new NativeBuffer(8)
  #reader: ImageReader
  #socket: number
  #broken: FaultlaneError | undefined

  // Reads posted and not answered whole: a ring, as many slots as credits.
  readonly #workId: Int32Array
  readonly #nextPage: Uint32Array
  readonly #pagesLeft: Uint32Array
  #head = 0
  #count = 0

  /** Takes over the socket and the mapping at `address`. */
  constructor(url: string, lane: Lane, greeted: Greeted, address: number) {
    const { info, bytes, extents, socket } = greeted
    this.lane = lane
    this.info = info
    this.#url = url
    this.#bytes = bytes
    this.#socket = socket
    this.creditsMax = lane === 'demand' ? DEMAND_CREDITS : PREFAULT_CREDITS
    this.readPagesMax = Math.max(1, Math.floor(READ_BYTES_MAX / info.pageSize))
    const image = { name: url, id: info.imageId, bytes, address, fd: -1, extents, isOurs: false }
    this.#reader = new ImageReader(image, info.pageSize)
    this.#workId = new Int32Array(this.creditsMax)
    this.#nextPage = new Uint32Array(this.creditsMax)
    this.#pagesLeft = new Uint32Array(this.creditsMax)
  }

  get credits(): number {
    return this.creditsMax - this.#count
  }

  /** The socket, on which nothing comes but its end. */
  get pollFd(): number {
    return this.#socket
  }

  get pollEvents(): number {
    return POLL.IN
  }

  tryPostRead(workId: number, firstPage: number, pageCount: number): boolean {
    if (this.#broken) throw this.#broken
    if (
      pageCount < 1 ||
      pageCount > this.readPagesMax ||
      firstPage < 0 ||
      firstPage + pageCount > this.info.pageCount
    ) {
      throw this.#badRange(firstPage, pageCount)
    }
    if (this.#count === this.creditsMax) return false
    const slot = (this.#head + this.#count) % this.creditsMax
    this.#workId[slot] = workId
    this.#nextPage[slot] = firstPage
    this.#pagesLeft[slot] = pageCount
    this.#count++
    return true
  }

  flush(): void {
    if (this.#broken) throw this.#broken
  }

  poll(sink: CompletionSink, completionsMax: number): number {
    if (this.#broken) throw this.#broken
    this.#lookAtSource()
    let delivered = 0
    while (delivered < completionsMax && this.#count > 0) {
      this.#deliver(sink)
      delivered++
      if (this.#broken) break // The sink closed us: the mapping is gone.
    }
    return delivered
  }

  /** Posted reads are answered by the next poll(), which no descriptor announces. */
  armForPark(): boolean {
    return this.#count > 0 && !this.#broken
  }

  close(): void {
    if (this.#socket < 0) return
    this.#libc.close(this.#socket)
    this.#socket = -1
    this.#libc.munmap(this.#reader.address, this.#bytes)
    this.#broken ??= this.#closed('it was closed here')
  }

  /** The longest run of alike pages at the head of the queue. */
  #deliver(sink: CompletionSink): void {
    const reader = this.#reader
    const slot = this.#head
    const firstPage = this.#nextPage[slot] as number
    const left = this.#pagesLeft[slot] as number
    // One question for all of them; only where the answer is no, page by page.
    const areReadable = reader.isReadable(firstPage, left)
    const kind = this.#kindOf(firstPage, areReadable)
    let run = 1
    while (run < left && this.#kindOf(firstPage + run, areReadable) === kind) run++
    if (run === left) {
      this.#head = (slot + 1) % this.creditsMax
      this.#count--
    } else {
      this.#nextPage[slot] = firstPage + run
      this.#pagesLeft[slot] = left - run
    }
    const workId = this.#workId[slot] as number
    if (kind === COMPLETION.CONTENT) {
      this.bytesReceived += run * this.info.pageSize
      sink.onCompletion(workId, firstPage, run, kind, reader.addressOf(firstPage))
    } else sink.onCompletion(workId, firstPage, run, kind, 0)
  }

  #kindOf(page: number, isReadable: boolean): number {
    if (!isReadable && !this.#reader.isReadable(page, 1)) return COMPLETION.ERROR
    return this.#reader.isZero(page) ? COMPLETION.ZERO : COMPLETION.CONTENT
  }

  /** Throws when the source has gone, or talks where it should be silent. One system call, about 0.2 µs. */
  #lookAtSource(): void {
    const flags = MSG.PEEK | MSG.DONTWAIT
    const got = this.#libc.recv(this.#socket, this.#peeked.address, 1, flags)
    if (got < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return
      this.#broken = this.#closed(`recv failed with ${errnoName(errno)}`)
    } else if (got === 0) this.#broken = this.#closed('the source closed the connection')
    else {
      this.#broken = new FaultlaneError({
        code: 'PROTOCOL',
        peer: `the source at ${this.#url}`,
        got: 'bytes after its welcome',
        expected: 'silence',
      })
    }
    throw this.#broken
  }

  #badRange(firstPage: number, pageCount: number): FaultlaneError {
    return new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'page range',
      got: `${firstPage}+${pageCount}`,
      expected: `1 to ${this.readPagesMax} pages below ${this.info.pageCount}`,
    })
  }

  #closed(reason: string): FaultlaneError {
    return new FaultlaneError({
      code: 'CHANNEL_CLOSED',
      channel: `${this.lane} to ${this.#url}`,
      reason,
      inFlight: this.#count,
    })
  }
}
