/**
 * One lane's road to a source on the same host through the emulated NIC: reads are posted as one-sided READs of the
 * image, their bytes come at the instant that the model says, and poll() both drives the model by the host's clock
 * and delivers. Owned by one thread; the source's processor takes no part.
 *
 * Not every read meets the NIC: pages known to be zero need none, and a read with a page that cannot be read is
 * answered page by page without the model, since touching that page would kill who does. As with a mapping
 * anywhere, a file that is cut short between this question and the copy kills the reader.
 *
 * When the source is lost, no page is given after that, or at most one look later: see LOOK_MS.
 */
import { CONNECT_TIMEOUT_MS, DEMAND_CREDITS, PREFAULT_CREDITS } from '../../config.ts'
import { FaultlaneError } from '../../errors.ts'
import type { ImageDescription } from '../../memory/image.ts'
import { ImageReader } from '../../memory/image-reader.ts'
import { FCNTL, MAP, POLL, PROT, SEAL } from '../../native/abi.ts'
import { hostClock } from '../../native/host-clock.ts'
import { check, type Libc, libc } from '../../native/libc.ts'
import { closeGreeted, type Greeted, greet } from '../shared-image/greet.ts'
import { SourceLine } from '../shared-image/source-line.ts'
import type { Channel, ChannelOptions, CompletionSink, ImageInfo, Lane, SocketFile } from '../transport.ts'
import { COMPLETION } from '../transport.ts'
import { parseAddress, RDMA_SIM } from './address.ts'
import { ReadingNic } from './reading-nic.ts'
import { SharedPort } from './shared-port.ts'

/** Bytes of one READ at most, unless a page is larger: the bulk READs of the published tables. */
const READ_BYTES_MAX = 1 << 16
/** Registered memory of a channel; large pages have fewer credits for it. It is used, and so taken, slot by slot. */
const BUFFER_BYTES_MAX = 1 << 26
/** A page may be given at most this long after the source has gone. Looking costs a system call. */
const LOOK_MS = 1
/** Events of the model in one poll(): a few ms of work, when a thread comes back after a long time. */
const EVENTS_PER_POLL_MAX = 8192

/** How a read is answered. */
const BY = { NIC: 0, HOLE: 1, COPY: 2 } as const
const NONE = -1

/** Reads that the NIC has answered, and by how much the host was later than the model says. */
export interface Lateness {
  reads: number
  nsSum: number
  nsMax: number
}

export class RdmaSimChannel implements Channel {
  readonly lane: Lane
  readonly info: ImageInfo
  readonly readPagesMax: number
  readonly creditsMax: number
  readonly nicName: string
  readonly dilation: number
  readonly lateness: Lateness = { reads: 0, nsSum: 0, nsMax: 0 }
  bytesReceived = 0
  readonly #libc: Libc = libc()
  readonly #clock = hostClock()
  readonly #nic: ReadingNic
  readonly #port: SharedPort
  readonly #reader: ImageReader
  readonly #imageBytes: number
  readonly #imageFd: number
  readonly #line: SourceLine
  #lookAtNs = 0
  #broken: FaultlaneError | undefined

  // By slot: what was asked. Free slots are a stack, so that few slots are used and stay in the cache.
  readonly #workId: Int32Array
  readonly #firstPage: Uint32Array
  readonly #pageCount: Uint32Array
  readonly #by: Uint8Array
  readonly #free: Int32Array
  #freeCount: number
  // Reads that never met the NIC, to be answered in the next poll(): a ring.
  readonly #local: Int32Array
  #localHead = 0
  #localCount = 0
  // The read that is being delivered.
  #slot = NONE
  #done = 0
  readonly #isRead: Uint8Array

  /** Takes over what `greeted` holds, also when it throws. */
  constructor(text: string, lane: Lane, greeted: Greeted) {
    const { url, nic, dilation } = parseAddress(text)
    const { info, bytes, extents, imageFd } = greeted
    const slotBytes = Math.max(READ_BYTES_MAX, info.pageSize)
    const wanted = lane === 'demand' ? DEMAND_CREDITS : PREFAULT_CREDITS
    const slots = Math.max(1, Math.min(wanted, Math.floor(BUFFER_BYTES_MAX / slotBytes)))
    this.lane = lane
    this.info = info
    this.readPagesMax = slotBytes / info.pageSize
    this.creditsMax = slots
    this.dilation = dilation
    this.#line = new SourceLine(url, lane, greeted)
    this.#imageFd = imageFd
    this.#imageBytes = bytes
    this.#workId = new Int32Array(slots)
    this.#firstPage = new Uint32Array(slots)
    this.#pageCount = new Uint32Array(slots)
    this.#by = new Uint8Array(slots)
    this.#free = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i)
    this.#freeCount = slots
    this.#local = new Int32Array(slots)
    this.#isRead = new Uint8Array(this.readPagesMax)
    const undo: (() => void)[] = [() => closeGreeted(greeted)]
    try {
      const port = new SharedPort(greeted.extraFds[0]!, lane === 'demand', `the source at ${url}`)
      undo.push(() => port.close())
      const flags = MAP.SHARED | MAP.NORESERVE
      const name = `the image of ${url}`
      const address = check(this.#libc.mmap(0, bytes, PROT.READ, flags, imageFd, 0), 'mmap', name)
      undo.push(() => this.#libc.munmap(address, bytes))
      const seals = this.#libc.fcntl(imageFd, FCNTL.GET_SEALS, 0)
      const isOurs = seals > 0 && (seals & SEAL.SHRINK) !== 0
      const image: ImageDescription = { name, id: info.imageId, bytes, address, fd: -1, extents, isOurs }
      this.#reader = new ImageReader(image, info.pageSize)
      this.#port = port
      this.nicName = nic ?? port.nic
      const clock = this.#clock
      this.#nic = new ReadingNic({ lane, nic: this.nicName, dilation, port, clock, image, slots, slotBytes })
      this.#libc.close(greeted.extraFds[0]!)
    } catch (error) {
      for (const step of undo.reverse()) step()
      throw error
    }
  }

  get credits(): number {
    return this.#freeCount
  }

  /** The socket, on which nothing comes but its end. */
  get pollFd(): number {
    return this.#line.fd
  }

  get pollEvents(): number {
    return POLL.IN
  }

  /** Of the read whose parts came last: modelled time, and time from post to delivery, ns. */
  get nicNs(): number {
    return this.#nic.nicNs
  }

  get hostNs(): number {
    return this.#nic.hostNs
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
    const slot = this.#free[--this.#freeCount] as number
    this.#workId[slot] = workId
    this.#firstPage[slot] = firstPage
    this.#pageCount[slot] = pageCount
    const by = this.#wayOf(firstPage, pageCount)
    this.#by[slot] = by
    const { pageSize } = this.info
    if (by === BY.NIC) this.#nic.post(slot, firstPage * pageSize, pageCount * pageSize)
    else this.#local[(this.#localHead + this.#localCount++) % this.creditsMax] = slot
    return true
  }

  /** The doorbell was rung by each post. */
  flush(): void {
    if (this.#broken) throw this.#broken
  }

  poll(sink: CompletionSink, completionsMax: number): number {
    if (this.#broken) throw this.#broken
    const nowNs = this.#clock.nowNs()
    if (this.#freeCount === this.creditsMax || nowNs >= this.#lookAtNs) {
      this.#broken = this.#line.look(this.creditsMax - this.#freeCount)
      if (this.#broken) throw this.#broken
      this.#lookAtNs = nowNs + LOOK_MS * 1e6
    }
    this.#nic.advance(nowNs, EVENTS_PER_POLL_MAX)
    let delivered = 0
    while (delivered < completionsMax && (this.#slot !== NONE || this.#takeNext())) {
      this.#deliver(sink)
      delivered++
      if (this.#broken) break // The sink has closed us.
    }
    return delivered
  }

  /** What the model holds is announced by no descriptor. */
  armForPark(): boolean {
    return this.#freeCount < this.creditsMax && !this.#broken
  }

  tellSocketFile(file: SocketFile | undefined): void {
    this.#line.tell(file)
  }

  close(): void {
    if (this.#line.fd < 0) return
    this.#broken ??= this.#line.closed('it was closed here', this.creditsMax - this.#freeCount)
    this.#line.close()
    this.#libc.close(this.#imageFd)
    this.#nic.close()
    this.#port.close()
    this.#libc.munmap(this.#reader.address, this.#imageBytes)
  }

  #wayOf(firstPage: number, pageCount: number): number {
    let holes = 0
    while (holes < pageCount && this.#reader.isHole(firstPage + holes)) holes++
    if (holes === pageCount) return BY.HOLE
    return this.#reader.isReadable(firstPage, pageCount) ? BY.NIC : BY.COPY
  }

  #takeNext(): boolean {
    if (this.#localCount > 0) {
      this.#slot = this.#local[this.#localHead] as number
      this.#localHead = (this.#localHead + 1) % this.creditsMax
      this.#localCount--
      if (this.#by[this.#slot] === BY.COPY) this.#copy(this.#slot)
    } else {
      this.#slot = this.#nic.takeCompletion()
      if (this.#slot === NONE) return false
      const { lateness } = this
      const { lateNs } = this.#nic
      lateness.reads++
      lateness.nsSum += lateNs
      if (lateNs > lateness.nsMax) lateness.nsMax = lateNs
    }
    this.#done = 0
    return true
  }

  /** The longest run of alike pages that comes next. */
  #deliver(sink: CompletionSink): void {
    const slot = this.#slot
    const index = this.#done
    const left = (this.#pageCount[slot] as number) - index
    const kind = this.#kindOf(slot, index)
    let run = 1
    while (run < left && this.#kindOf(slot, index + run) === kind) run++
    const firstPage = (this.#firstPage[slot] as number) + index
    const isContent = kind === COMPLETION.CONTENT
    const address = isContent ? this.#addressOf(slot, index) : 0
    this.#done = index + run
    if (run === left) {
      this.#free[this.#freeCount++] = slot
      this.#slot = NONE
    }
    if (isContent) this.bytesReceived += run * this.info.pageSize
    sink.onCompletion(this.#workId[slot] as number, firstPage, run, kind, address)
  }

  #kindOf(slot: number, index: number): number {
    const by = this.#by[slot]
    if (by === BY.HOLE) return COMPLETION.ZERO
    if (by === BY.COPY && this.#isRead[index] === 0) return COMPLETION.ERROR
    const { words } = this.#nic
    const begin = (this.#addressOf(slot, index) - this.#nic.address) / 4
    const end = begin + this.info.pageSize / 4
    for (let i = begin; i < end; i++) if (words[i] !== 0) return COMPLETION.CONTENT
    return COMPLETION.ZERO
  }

  #addressOf(slot: number, index: number): number {
    return this.#nic.address + (slot * this.readPagesMax + index) * this.info.pageSize
  }

  #copy(slot: number): void {
    const { pageSize } = this.info
    for (let i = 0; i < (this.#pageCount[slot] as number); i++) {
      const offset = ((this.#firstPage[slot] as number) + i) * pageSize
      const got = this.#libc.pread(this.#imageFd, this.#addressOf(slot, i), pageSize, offset)
      this.#isRead[i] = got === pageSize ? 1 : 0
    }
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

export function openRdmaSimChannel(text: string, lane: Lane, options: ChannelOptions = {}): RdmaSimChannel {
  const { url } = parseAddress(text)
  const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
  return new RdmaSimChannel(text, lane, greet(RDMA_SIM, url, lane, options.pageSize ?? 4096, timeoutMs))
}
