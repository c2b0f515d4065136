/**
 * One lane's TCP connection, seen from the destination. Owned by one thread, which never blocks here: requests
 * go out and replies come in by non-blocking system calls, and a page's bytes are handed on where recv put them.
 */
import { CONNECT_TIMEOUT_MS, DEMAND_CREDITS, PREFAULT_CREDITS } from '../../config.ts'
import { FaultlaneError } from '../../errors.ts'
import { ERRNO, errnoName, MSG, POLL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { dialTcp, parseTcpUrl, tuneSocket } from '../../native/socket.ts'
import type { Channel, ChannelOptions, CompletionSink, ImageInfo, Lane } from '../transport.ts'
import { COMPLETION } from '../transport.ts'
import { exchangeHello } from './hello.ts'
import { destinationTuning } from './tuning.ts'
import { FRAME, FRAME_BYTES, FRAME_MAGIC } from './wire.ts'

/** Pages of one read at most: the parts that have come are the bits of one int32. */
const READ_PAGES_MAX = 32
const RECEIVE_BYTES_MIN = 1 << 20
/**
 * Taken from the socket in one call, one page at least. All of a mebibyte kept the thread in the kernel for 80 to 95 µs, and with it whoever
 * waited for a page of it or for this processor. Walk beside prefault on loopback (2 × Xeon, medians of 7 alternating runs): p99 157 µs, 116 in
 * calls of this size; prefault alone 1.56 and 1.50 GB/s (6 runs).
 */
const RECEIVE_CALL_BYTES = FRAME_BYTES + (128 << 10)

export function openTcpChannel(url: string, lane: Lane, options: ChannelOptions = {}): TcpChannel {
  const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
  const fd = dialTcp(parseTcpUrl(url), timeoutMs)
  try {
    tuneSocket(fd, destinationTuning(options.without)[lane])
    const info = exchangeHello(fd, url, lane, options.pageSize ?? 4096, timeoutMs)
    return new TcpChannel(fd, url, lane, info)
  } catch (error) {
    libc().close(fd)
    throw error
  }
}

export class TcpChannel implements Channel {
  readonly lane: Lane
  readonly info: ImageInfo
  readonly readPagesMax: number
  readonly creditsMax: number
  bytesReceived = 0
  readonly #libc: Libc = libc()
  readonly #url: string
  readonly #pageBytes: number
  #fd: number
  #broken: FaultlaneError | undefined

  // The reads in flight. The wire carries the slot, so that a work id may be any integer.
  readonly #slotWorkId: Int32Array
  readonly #slotFirst: Uint32Array
  readonly #slotCount: Int32Array
  /** Bit i: page i of the read has not come yet. 0: the slot is free. */
  readonly #slotOwed: Int32Array
  readonly #freeSlots: Int32Array
  #freeCount: number

  readonly #requests: NativeBuffer
  #sendBegin = 0
  #sendEnd = 0

  readonly #received: NativeBuffer
  readonly #receiveBytesMax: number
  #begin = 0
  #end = 0

  constructor(fd: number, url: string, lane: Lane, info: ImageInfo) {
    this.#fd = fd
    this.#url = url
    this.lane = lane
    this.info = info
    this.#pageBytes = info.pageSize
    this.creditsMax = lane === 'demand' ? DEMAND_CREDITS : PREFAULT_CREDITS
    // Two of the longest replies fit, so one is parsed while the next comes in behind it.
    this.readPagesMax = Math.max(
      1,
      Math.min(READ_PAGES_MAX, Math.floor(RECEIVE_BYTES_MIN / 2 / info.pageSize)),
    )
    const longest = FRAME_BYTES + this.readPagesMax * info.pageSize
    this.#received = new NativeBuffer(Math.max(RECEIVE_BYTES_MIN, 2 * longest), 4096)
    this.#receiveBytesMax = Math.max(RECEIVE_CALL_BYTES, FRAME_BYTES + info.pageSize)
    this.#requests = new NativeBuffer(this.creditsMax * FRAME_BYTES)
    this.#slotWorkId = new Int32Array(this.creditsMax)
    this.#slotFirst = new Uint32Array(this.creditsMax)
    this.#slotCount = new Int32Array(this.creditsMax)
    this.#slotOwed = new Int32Array(this.creditsMax)
    this.#freeSlots = Int32Array.from({ length: this.creditsMax }, (_, i) => this.creditsMax - 1 - i)
    this.#freeCount = this.creditsMax
  }

  get credits(): number {
    return this.#freeCount
  }

  get pollFd(): number {
    return this.#fd
  }

  get pollEvents(): number {
    return this.#sendBegin < this.#sendEnd ? POLL.IN | POLL.OUT : POLL.IN
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
    if (this.#freeCount === 0) return false
    // Credits bound the bytes: a request not yet sent holds one.
    if (this.#sendEnd + FRAME_BYTES > this.#requests.bytes) this.#compactRequests()
    if (this.#sendEnd + FRAME_BYTES > this.#requests.bytes) return false
    const slot = this.#freeSlots[--this.#freeCount] as number
    this.#slotWorkId[slot] = workId
    this.#slotFirst[slot] = firstPage
    this.#slotCount[slot] = pageCount
    this.#slotOwed[slot] = lowBits(pageCount)
    const word = this.#sendEnd >> 2
    const u32 = this.#requests.u32
    u32[word + FRAME.WORK_ID] = slot
    u32[word + FRAME.FIRST_PAGE] = firstPage
    u32[word + FRAME.PAGE_COUNT] = pageCount
    u32[word + FRAME.KIND] = FRAME_MAGIC
    this.#sendEnd += FRAME_BYTES
    return true
  }

  flush(): void {
    while (this.#sendBegin < this.#sendEnd) {
      const sent = this.#libc.send(
        this.#fd,
        this.#requests.address + this.#sendBegin,
        this.#sendEnd - this.#sendBegin,
        MSG.DONTWAIT | MSG.NOSIGNAL,
      )
      if (sent < 0) {
        const errno = this.#libc.errno()
        if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return
        throw this.#break(`send failed with ${errnoName(errno)}`)
      }
      this.#sendBegin += sent
    }
    this.#sendBegin = 0
    this.#sendEnd = 0
  }

  poll(sink: CompletionSink, completionsMax: number): number {
    if (this.#broken) throw this.#broken
    if (this.#sendBegin < this.#sendEnd) this.flush()
    let delivered = this.#parse(sink, completionsMax)
    if (delivered === completionsMax) return delivered
    if (this.#freeCount === this.creditsMax && delivered > 0) return delivered
    const room = Math.min(this.#received.bytes - this.#end, this.#receiveBytesMax)
    const got = this.#libc.recv(this.#fd, this.#received.address + this.#end, room, MSG.DONTWAIT)
    if (got > 0) {
      this.#end += got
      delivered += this.#parse(sink, completionsMax - delivered)
    } else if (got === 0) {
      throw this.#break('the source closed the connection')
    } else {
      const errno = this.#libc.errno()
      if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR)
        throw this.#break(`recv failed with ${errnoName(errno)}`)
    }
    return delivered
  }

  armForPark(): boolean {
    return this.#end - this.#begin >= FRAME_BYTES && this.#frameIsWhole()
  }

  close(): void {
    if (this.#fd >= 0) this.#libc.close(this.#fd)
    this.#fd = -1
    this.#broken ??= this.#closed('it was closed here')
  }

  #frameIsWhole(): boolean {
    const word = this.#begin >> 2
    const u32 = this.#received.u32
    const isContent = ((u32[word + FRAME.KIND] as number) & 0xff) === COMPLETION.CONTENT
    const bytes = isContent ? (u32[word + FRAME.PAGE_COUNT] as number) * this.#pageBytes : 0
    return this.#end - this.#begin >= FRAME_BYTES + bytes
  }

  /** Hands over every whole reply that has come, at most `completionsMax`. Frames keep to 16-byte steps, so words are aligned. */
  #parse(sink: CompletionSink, completionsMax: number): number {
    const u32 = this.#received.u32
    let delivered = 0
    while (delivered < completionsMax && this.#end - this.#begin >= FRAME_BYTES) {
      const word = this.#begin >> 2
      const slot = u32[word + FRAME.WORK_ID] as number
      const firstPage = u32[word + FRAME.FIRST_PAGE] as number
      const pageCount = u32[word + FRAME.PAGE_COUNT] as number
      const tail = u32[word + FRAME.KIND] as number
      const kind = tail & 0xff
      if ((tail & ~0xff) !== FRAME_MAGIC || kind > COMPLETION.ERROR) {
        throw this.#nonsense(
          `a reply frame ending in 0x${tail.toString(16)}`,
          'a reply frame of this version',
        )
      }
      if (slot >= this.creditsMax || this.#slotOwed[slot] === 0) {
        throw this.#nonsense(`a reply to work ${slot}`, 'a reply to a read in flight')
      }
      const offset = firstPage - (this.#slotFirst[slot] as number)
      if (offset < 0 || pageCount < 1 || offset + pageCount > (this.#slotCount[slot] as number)) {
        throw this.#nonsense(
          `pages ${firstPage}+${pageCount}`,
          `pages of the read at ${this.#slotFirst[slot]}+${this.#slotCount[slot]}`,
        )
      }
      const bits = lowBits(pageCount) << offset
      const owed = this.#slotOwed[slot] as number
      if ((owed & bits) !== bits)
        throw this.#nonsense(`pages ${firstPage}+${pageCount} again`, 'every page once')
      const bytes = kind === COMPLETION.CONTENT ? pageCount * this.#pageBytes : 0
      if (this.#end - this.#begin < FRAME_BYTES + bytes) {
        // A reply that does not fit behind what is there moves to the front; at most once a buffer.
        if (this.#begin + FRAME_BYTES + bytes > this.#received.bytes) this.#compactReceived()
        break
      }
      const address = bytes > 0 ? this.#received.address + this.#begin + FRAME_BYTES : 0
      const workId = this.#slotWorkId[slot] as number
      this.#begin += FRAME_BYTES + bytes
      this.bytesReceived += bytes
      this.#slotOwed[slot] = owed & ~bits
      if ((owed & ~bits) === 0) this.#freeSlots[this.#freeCount++] = slot
      sink.onCompletion(workId, firstPage, pageCount, kind, address)
      delivered++
    }
    if (this.#begin === this.#end) {
      this.#begin = 0
      this.#end = 0
    } else if (this.#received.bytes - this.#end < FRAME_BYTES) this.#compactReceived()
    return delivered
  }

  #compactReceived(): void {
    if (this.#begin === 0) return
    this.#received.u8.copyWithin(0, this.#begin, this.#end)
    this.#end -= this.#begin
    this.#begin = 0
  }

  #compactRequests(): void {
    this.#requests.u8.copyWithin(0, this.#sendBegin, this.#sendEnd)
    this.#sendEnd -= this.#sendBegin
    this.#sendBegin = 0
  }

  #badRange(firstPage: number, pageCount: number): FaultlaneError {
    return new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'page range',
      got: `${firstPage}+${pageCount}`,
      expected: `1 to ${this.readPagesMax} pages below ${this.info.pageCount}`,
    })
  }

  #nonsense(got: string, expected: string): FaultlaneError {
    this.#broken = new FaultlaneError({ code: 'PROTOCOL', peer: `the source at ${this.#url}`, got, expected })
    return this.#broken
  }

  #closed(reason: string): FaultlaneError {
    const inFlight = this.creditsMax - this.#freeCount
    return new FaultlaneError({
      code: 'CHANNEL_CLOSED',
      channel: `${this.lane} to ${this.#url}`,
      reason,
      inFlight,
    })
  }

  #break(reason: string): FaultlaneError {
    this.#broken = this.#closed(reason)
    return this.#broken
  }
}

/** As many bits as pages, 1 to 32, in an int32. `(1 << 31) - 1` would be none, and the compiler would have to begin anew. */
function lowBits(pages: number): number {
  return ~(-2 << (pages - 1))
}
