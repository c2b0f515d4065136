/**
 * One destination's connection, seen from the source: the opening exchange, then reads that wait for their turn.
 * Owned by the source agent's thread; never blocks.
 */
import { DEMAND_CREDITS, PREFAULT_CREDITS } from '../../config.ts'
import { extentsInPages, type ImageDescription } from '../../memory/image.ts'
import type { ImageReader, ImageReaders } from '../../memory/image-reader.ts'
import { ERRNO, errnoName, MSG } from '../../native/abi.ts'
import { addressOfArray, NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { tuneSocket } from '../../native/socket.ts'
import { StampedReceiver } from '../../native/stamped-receiver.ts'
import type { SourceStats } from '../source.ts'
import { COMPLETION } from '../transport.ts'
import { FrameSender } from './frame-sender.ts'
import { LinkSender } from './link-sender.ts'
import type { SourceLink } from './source-link.ts'
import type { LaneTuning } from './tuning.ts'
import {
  EXTENTS_UNKNOWN,
  FRAME,
  FRAME_BYTES,
  FRAME_MAGIC,
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
  WELCOME_MAGIC,
  WIRE_VERSION,
} from './wire.ts'

const FRAMES_PER_BATCH = 32
const READ_PAGES_MAX = 32
const QUEUE_SLOTS = Math.max(DEMAND_CREDITS, PREFAULT_CREDITS)
const QUEUE_WORDS = 3

/** Numbers the requests of all connections as they are taken: the order of arrival. */
export interface Arrivals {
  count: number
}

export class Connection {
  readonly fd: number
  readonly peer: string
  readonly openedAtMs: number
  /** Set by the agent from poll(2), cleared when there is nothing left to read. */
  isReadable = true
  /** 0 until the hello has come; then one of LANE_CODE. */
  lane = 0
  /** Why the connection is to be closed; '' while it lives. The empty peer close is 'closed'. */
  endReason = ''
  readonly #libc: Libc = libc()
  readonly #image: ImageDescription
  readonly #readers: ImageReaders
  readonly #stats: SourceStats
  readonly #sender: FrameSender
  readonly #in = new NativeBuffer(QUEUE_SLOTS * FRAME_BYTES)
  #inEnd = 0
  #reader: ImageReader | undefined
  #extents: Uint32Array | undefined
  // Reads taken and not answered: [slot, next page, pages left], a ring.
  readonly #queue = new Uint32Array(QUEUE_SLOTS * QUEUE_WORDS)
  #queueHead = 0
  #queueCount = 0
  // Behind an emulated link only: what goes through it, and when each read may be seen.
  readonly #link: SourceLink | undefined
  readonly #linkSender: LinkSender | undefined
  readonly #stamped: StampedReceiver | undefined
  readonly #queueVisibleNs = new Float64Array(QUEUE_SLOTS)
  readonly #queueArrival = new Float64Array(QUEUE_SLOTS)
  readonly #arrivals: Arrivals
  readonly #tuning: LaneTuning

  constructor(
    fd: number,
    peer: string,
    readers: ImageReaders,
    stats: SourceStats,
    openedAtMs: number,
    tuning: LaneTuning,
    arrivals: Arrivals,
    link?: SourceLink,
  ) {
    this.#tuning = tuning
    this.#arrivals = arrivals
    this.#link = link
    this.#linkSender = link && new LinkSender(fd)
    this.#stamped = link && new StampedReceiver(fd)
    this.fd = fd
    this.peer = peer
    this.openedAtMs = openedAtMs
    this.#image = readers.image
    this.#readers = readers
    this.#stats = stats
    this.#sender = new FrameSender(fd, FRAMES_PER_BATCH)
  }

  get hasQueued(): boolean {
    return this.#queueCount > 0
  }

  /** Number of the oldest request that has not been answered, in the order of all; only while there is one. */
  get oldestArrival(): number {
    return this.#queueArrival[this.#queueHead] as number
  }

  /** False for a destination that has asked for all it may and takes no answer: its next bytes have to wait. */
  get hasRoom(): boolean {
    return this.#queueCount < QUEUE_SLOTS
  }

  get isSending(): boolean {
    return this.#sender.pendingBytes > 0 || (this.#linkSender !== undefined && this.#linkSender.count > 0)
  }

  /** True while only the socket's being full holds it up. */
  get isBlocked(): boolean {
    return this.#sender.pendingBytes > 0 || this.#linkSender?.isBlocked === true
  }

  /** Behind an emulated link: when its first frame arrives; Infinity: none is under way, or the socket is full. */
  get nextArrivalNs(): number {
    const sender = this.#linkSender
    return !sender || sender.isBlocked ? Infinity : sender.nextArrivalNs
  }

  /** Behind an emulated link: when the first read that waits may be seen; Infinity: none waits, or too much is under way. */
  get nextVisibleNs(): number {
    if (this.#queueCount === 0 || this.#linkSender?.isFull !== false) return Infinity
    return this.#queueVisibleNs[this.#queueHead] as number
  }

  /** Takes requests the destination has sent; how many, 0 when there is nothing. */
  receive(): number {
    const free = QUEUE_SLOTS - this.#queueCount
    const room = this.lane === 0 ? HELLO_BYTES - this.#inEnd : free * FRAME_BYTES - this.#inEnd
    if (room <= 0) return 0
    const address = this.#in.address + this.#inEnd
    const got = this.#stamped
      ? this.#stamped.receive(address, room)
      : this.#libc.recv(this.fd, address, room, MSG.DONTWAIT)
    if (got < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) this.isReadable = false
      else this.endReason = `recv failed with ${errnoName(errno)}`
      return 0
    }
    if (got === 0) {
      this.endReason =
        this.lane === 0 ? `it closed after ${this.#inEnd} of ${HELLO_BYTES} hello bytes` : 'closed'
      return 0
    }
    this.#inEnd += got
    this.isReadable = got === room
    if (this.lane === 0) {
      if (this.#inEnd < HELLO_BYTES) {
        // Whoever speaks another protocol may have said all it has to say.
        if (this.#inEnd >= 4 && this.#in.u32[HELLO.MAGIC] !== HELLO_MAGIC) this.#refuseStranger()
        return 0
      }
      this.#inEnd = 0
      this.#welcome()
      this.isReadable = true
      return 1
    }
    return this.#takeRequests()
  }

  #takeRequests(): number {
    const u32 = this.#in.u32
    const pageCountMax = (this.#reader as ImageReader).pageCount
    const visibleNs = this.#link ? this.#link.requestVisibleNs((this.#stamped as StampedReceiver).ageNs) : 0
    let at = 0
    let taken = 0
    for (; this.#inEnd - at >= FRAME_BYTES; at += FRAME_BYTES) {
      const word = at >> 2
      const slot = u32[word + FRAME.WORK_ID] as number
      const firstPage = u32[word + FRAME.FIRST_PAGE] as number
      const pageCount = u32[word + FRAME.PAGE_COUNT] as number
      if (u32[word + FRAME.KIND] !== FRAME_MAGIC) {
        this.endReason = `a request frame ending in 0x${(u32[word + FRAME.KIND] as number).toString(16)}`
        return taken
      }
      if (pageCount < 1 || pageCount > READ_PAGES_MAX || firstPage + pageCount > pageCountMax) {
        this.endReason = `a read of pages ${firstPage}+${pageCount}, outside the image's ${pageCountMax} pages`
        return taken
      }
      const tailSlot = (this.#queueHead + this.#queueCount) % QUEUE_SLOTS
      this.#queueVisibleNs[tailSlot] = visibleNs
      this.#queueArrival[tailSlot] = this.#arrivals.count++
      const tail = tailSlot * QUEUE_WORDS
      this.#queue[tail] = slot
      this.#queue[tail + 1] = firstPage
      this.#queue[tail + 2] = pageCount
      this.#queueCount++
      taken++
    }
    if (at > 0 && at < this.#inEnd) this.#in.u8.copyWithin(0, at, this.#inEnd)
    this.#inEnd -= at
    return taken
  }

  /** Answers queued reads up to about `bytesMax` and sends once; bytes or frames moved, 0 when it cannot. */
  answer(readsMax: number, bytesMax: number): number {
    const sender = this.#sender
    if (sender.pendingBytes > 0) return this.#send()
    if (this.#linkSender) return this.#deliver(this.#linkSender)
    let gathered = 0
    for (let reads = 0; reads < readsMax && this.#queueCount > 0 && gathered < bytesMax && !sender.isFull; ) {
      const at = this.#queueHead * QUEUE_WORDS
      gathered += this.#gather(at, bytesMax - gathered)
      if (this.#queue[at + 2] === 0) {
        this.#queueHead = (this.#queueHead + 1) % QUEUE_SLOTS
        this.#queueCount--
        reads++
      }
    }
    return this.#send()
  }

  /** One frame of the first read that waits enters the emulated link at `enterNs`. */
  enterLink(enterNs: number, bytesMax: number): void {
    const at = this.#queueHead * QUEUE_WORDS
    this.#gather(at, bytesMax, enterNs)
    if (this.#queue[at + 2] !== 0) return
    this.#queueHead = (this.#queueHead + 1) % QUEUE_SLOTS
    this.#queueCount--
  }

  /** What has arrived at the end of the emulated link goes to the socket. */
  #deliver(sender: LinkSender): number {
    const link = this.#link as SourceLink
    const nowNs = link.nowNs()
    const dueNs = sender.nextArrivalNs
    const sent = sender.send(nowNs)
    if (sent > 0 && this.lane === LANE_CODE.demand) link.recordLateness(nowNs - dueNs)
    if (sender.failedErrno !== 0) this.endReason = `send failed with ${errnoName(sender.failedErrno)}`
    return sent
  }

  /** One reply frame for the longest run of alike pages at the queue's head; its payload bytes. */
  #gather(at: number, bytesMax: number, enterNs = 0): number {
    const reader = this.#reader as ImageReader
    const slot = this.#queue[at] as number
    const firstPage = this.#queue[at + 1] as number
    const left = this.#queue[at + 2] as number
    const most = Math.max(1, Math.min(left, Math.floor(bytesMax / reader.pageBytes)))
    // One question for all of them; only where the answer is no, page by page.
    const areReadable = reader.isReadable(firstPage, most)
    const kind = this.#kindOf(firstPage, areReadable)
    let run = areReadable ? reader.likeFirst(firstPage, most) : 1
    while (!areReadable && run < most && this.#kindOf(firstPage + run, false) === kind) run++
    const bytes = kind === COMPLETION.CONTENT ? run * reader.pageBytes : 0
    const address = reader.addressOf(firstPage)
    if (this.#linkSender) {
      const arrivalNs = (this.#link as SourceLink).take(FRAME_BYTES + bytes, enterNs)
      this.#linkSender.addFrame(slot, firstPage, run, kind, address, bytes, arrivalNs)
    } else this.#sender.addFrame(slot, firstPage, run, kind, address, bytes)
    this.#queue[at + 1] = firstPage + run
    this.#queue[at + 2] = left - run
    if (kind === COMPLETION.CONTENT) this.#stats.pagesSent += run
    else if (kind === COMPLETION.ZERO) this.#stats.zeroPagesSent += run
    else this.#stats.errorsSent += run
    this.#stats.bytesSent += bytes
    return bytes
  }

  #kindOf(page: number, isReadable: boolean): number {
    const reader = this.#reader as ImageReader
    if (!isReadable && !reader.isReadable(page, 1)) return COMPLETION.ERROR
    return reader.isZero(page) ? COMPLETION.ZERO : COMPLETION.CONTENT
  }

  #send(): number {
    const sent = this.#sender.send()
    if (this.#sender.failedErrno !== 0)
      this.endReason = `send failed with ${errnoName(this.#sender.failedErrno)}`
    return sent
  }

  #refuseStranger(): void {
    const bytes = [...this.#in.u8.subarray(0, 4)].map((b) => b.toString(16).padStart(2, '0')).join(' ')
    this.endReason = `it does not speak our protocol: its first bytes are ${bytes}`
  }

  /** Answers the hello; a refusal is said in the welcome and closes the connection. */
  #welcome(): void {
    const hello = this.#in.u32
    if (hello[HELLO.MAGIC] !== HELLO_MAGIC) {
      this.#refuseStranger()
      return
    }
    const lane = hello[HELLO.LANE] as number
    const pageBytes = hello[HELLO.PAGE_BYTES] as number
    const id = this.#image.id
    const imageHigh = Number.parseInt(id.slice(0, 8), 16)
    const imageLow = Number.parseInt(id.slice(8), 16)
    const isPowerOfTwo = pageBytes >= 4096 && (pageBytes & (pageBytes - 1)) === 0
    const wantsOther =
      (hello[HELLO.IMAGE_LOW] !== 0 || hello[HELLO.IMAGE_HIGH] !== 0) &&
      (hello[HELLO.IMAGE_LOW] !== imageLow || hello[HELLO.IMAGE_HIGH] !== imageHigh)
    let status: number = STATUS.OK
    if (hello[HELLO.VERSION] !== WIRE_VERSION) status = STATUS.BAD_VERSION
    else if (lane < LANE_CODE.describe || lane > LANE_CODE.prefault) status = STATUS.BAD_LANE
    else if (!isPowerOfTwo || this.#image.bytes % pageBytes !== 0) status = STATUS.BAD_PAGE_SIZE
    else if (wantsOther) status = STATUS.OTHER_IMAGE

    const welcome = new NativeBuffer(WELCOME_BYTES)
    const u32 = welcome.u32
    u32[WELCOME.MAGIC] = WELCOME_MAGIC
    u32[WELCOME.VERSION] = WIRE_VERSION
    u32[WELCOME.STATUS] = status
    u32[WELCOME.PAGE_BYTES] = pageBytes
    u32[WELCOME.IMAGE_LOW] = imageLow
    u32[WELCOME.IMAGE_HIGH] = imageHigh
    welcome.setU64(WELCOME.BYTES_LOW * 4, this.#image.bytes)
    u32[WELCOME.READ_PAGES_MAX] = READ_PAGES_MAX
    u32[WELCOME.CREDITS] = QUEUE_SLOTS
    u32[WELCOME.EXTENT_PAIRS] = EXTENTS_UNKNOWN
    this.#sender.addBytes(welcome.address, WELCOME_BYTES)
    this.#welcomeBuffer = welcome
    if (status !== STATUS.OK) {
      this.endReason = `refused with status ${status} (version ${hello[HELLO.VERSION]}, lane ${lane}, page size ${pageBytes})`
      this.#send()
      return
    }
    this.lane = lane
    if (lane === LANE_CODE.describe) {
      const extents = extentsInPages(this.#image.extents, pageBytes)
      if (extents) {
        u32[WELCOME.EXTENT_PAIRS] = extents.length / 2
        this.#extents = new Uint32Array(new SharedArrayBuffer(Math.max(8, extents.length * 4)))
        this.#extents.set(extents)
        if (extents.length > 0) this.#sender.addBytes(addressOfArray(this.#extents), extents.length * 4)
      }
    } else {
      tuneSocket(this.fd, this.#tuning[lane === LANE_CODE.demand ? 'demand' : 'prefault'])
    }
    this.#reader = this.#readers.of(pageBytes)
    this.#send()
  }
  /** Keeps the welcome's memory alive until it is sent. */
  #welcomeBuffer: NativeBuffer | undefined
  get keptAlive(): unknown {
    return [this.#welcomeBuffer, this.#extents]
  }

  close(): void {
    this.#libc.close(this.fd)
  }
}
