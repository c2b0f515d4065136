/**
 * One lane's road to a source on the same host: the frozen image is open here, and a read is answered from it in the
 * next poll(), without the source's CPU taking part. Owned by one thread.
 *
 * When the source is lost the image stays open and would still read, but who promised that the image is frozen has
 * gone: a file may now be rewritten, and the loss is what the destination's `--on-loss` policy acts on. So a channel
 * gives no page after its source: poll() looks whether the socket has ended before it delivers, and once it has,
 * throws CHANNEL_CLOSED, whatever is posted. Under load it looks once in LOOK_MS, not in every poll().
 *
 * A file cut short under the source is an ERROR for the pages that are gone. One exception: a page that the demand
 * lane has already verified (with its neighbours, 64 KiB) and that is cut off after that kills who reads the mapping
 * (SIGBUS), as it would the source. Prefault, which verifies thousands, copies out of such a file instead. A sealed memfd, as the synthetic images are, cannot be cut.
 */
import { CONNECT_TIMEOUT_MS, DEMAND_CREDITS, PREFAULT_CREDITS } from '../../config.ts'
import { FaultlaneError } from '../../errors.ts'
import { POLL } from '../../native/abi.ts'
import { libc } from '../../native/libc.ts'
import { type Greeted, greet } from '../shared-image/greet.ts'
import { SourceLine } from '../shared-image/source-line.ts'
import type { Channel, ChannelOptions, CompletionSink, ImageInfo, Lane, SocketFile } from '../transport.ts'
import { COMPLETION } from '../transport.ts'
import { CopiedPages } from './copied-pages.ts'
import { cannotShrink, MappedPages, type Pages } from './mapped-pages.ts'
import { SHM } from './protocol.ts'

/**
 * Bytes of one read at most, and so the most that poll() looks through for one completion; a guess. A page larger
 * than that is a read of its own.
 */
const READ_BYTES_MAX = 1 << 20

/**
 * A page may be given at most this long after the source has gone. Looking costs a system call, 0.2 to 2 µs, which
 * a fault that is answered from memory would feel.
 */
const LOOK_MS = 1

export function openShmChannel(url: string, lane: Lane, options: ChannelOptions = {}): ShmChannel {
  const greeted = greet(SHM, url, lane, options.pageSize ?? 4096, options.timeoutMs ?? CONNECT_TIMEOUT_MS)
  const readPagesMax = Math.max(1, Math.floor(READ_BYTES_MAX / greeted.info.pageSize))
  try {
    const pages =
      lane === 'demand' || cannotShrink(greeted.imageFd)
        ? new MappedPages(greeted, `the image of ${url}`)
        : new CopiedPages(greeted, readPagesMax)
    return new ShmChannel(url, lane, greeted, readPagesMax, pages)
  } catch (error) {
    libc().close(greeted.socket)
    throw error
  }
}

export class ShmChannel implements Channel {
  readonly lane: Lane
  readonly info: ImageInfo
  readonly readPagesMax: number
  readonly creditsMax: number
  bytesReceived = 0
  readonly #pages: Pages
  readonly #line: SourceLine
  #lookAtMs = 0
  #broken: FaultlaneError | undefined

  // Reads posted and not answered whole: a ring, as many slots as credits.
  readonly #workId: Int32Array
  readonly #nextPage: Uint32Array
  readonly #pagesLeft: Uint32Array
  #head = 0
  #count = 0

  /** Takes over the socket and the pages. */
  constructor(url: string, lane: Lane, greeted: Greeted, readPagesMax: number, pages: Pages) {
    this.lane = lane
    this.info = greeted.info
    this.readPagesMax = readPagesMax
    this.creditsMax = lane === 'demand' ? DEMAND_CREDITS : PREFAULT_CREDITS
    this.#line = new SourceLine(url, lane, greeted)
    this.#pages = pages
    this.#workId = new Int32Array(this.creditsMax)
    this.#nextPage = new Uint32Array(this.creditsMax)
    this.#pagesLeft = new Uint32Array(this.creditsMax)
  }

  get credits(): number {
    return this.creditsMax - this.#count
  }

  /** The socket, on which nothing comes but its end. */
  get pollFd(): number {
    return this.#line.fd
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
    const nowMs = performance.now()
    // With nothing to deliver, who polls asks just this.
    if (this.#count === 0 || nowMs >= this.#lookAtMs) {
      this.#broken = this.#line.look(this.#count)
      if (this.#broken) throw this.#broken
      this.#lookAtMs = nowMs + LOOK_MS
    }
    let delivered = 0
    while (delivered < completionsMax && this.#count > 0) {
      this.#deliver(sink)
      delivered++
      if (this.#broken) break // The sink has closed us.
    }
    return delivered
  }

  /** Posted reads are answered by the next poll(), which no descriptor announces. */
  armForPark(): boolean {
    return this.#count > 0 && !this.#broken
  }

  /** Of the prefault lane: demand reads page by page, and its first client is served sooner without. */
  prepare(): boolean {
    return this.lane === 'prefault' && !this.#broken && this.#pages.mapAhead()
  }

  tellSocketFile(file: SocketFile | undefined): void {
    this.#line.tell(file)
  }

  close(): void {
    if (this.#line.fd < 0) return
    this.#line.close()
    this.#pages.close()
    this.#broken ??= this.#line.closed('it was closed here', this.#count)
  }

  /** The longest run of alike pages at the head of the queue. */
  #deliver(sink: CompletionSink): void {
    const pages = this.#pages
    const slot = this.#head
    const firstPage = this.#nextPage[slot] as number
    const left = this.#pagesLeft[slot] as number
    // One question for all of them; only where the answer is no, page by page.
    const areReadable = pages.isReadable(firstPage, left)
    const kind = this.#kindOf(firstPage, areReadable)
    let run = areReadable ? pages.likeFirst(firstPage, left) : 1
    while (!areReadable && run < left && this.#kindOf(firstPage + run, false) === kind) run++
    const isContent = kind === COMPLETION.CONTENT
    const address = isContent ? pages.addressOf(firstPage) : 0
    if (run === left) {
      this.#head = (slot + 1) % this.creditsMax
      this.#count--
      pages.endRead()
    } else {
      this.#nextPage[slot] = firstPage + run
      this.#pagesLeft[slot] = left - run
    }
    if (isContent) this.bytesReceived += run * this.info.pageSize
    sink.onCompletion(this.#workId[slot] as number, firstPage, run, kind, address)
  }

  #kindOf(page: number, isReadable: boolean): number {
    if (!isReadable && !this.#pages.isReadable(page, 1)) return COMPLETION.ERROR
    return this.#pages.isZero(page) ? COMPLETION.ZERO : COMPLETION.CONTENT
  }

  #badRange(firstPage: number, pageCount: number): FaultlaneError {
    return new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'page range',
      got: `${firstPage}+${pageCount}`,
      expected: `1 to ${this.readPagesMax} pages below ${this.info.pageCount}`,
    })
  }
}
