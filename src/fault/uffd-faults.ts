/**
 * Reads the events of one userfaultfd session for the demand agent. Removals of a batch are handled before its
 * faults, because the kernel delivers them in no causal order and a page removed must read zero.
 *
 * `reading` is raised before the kernel is asked and lowered when the removals are marked: reading a REMOVE lets
 * the client go on and drop the range, so no other thread may begin to place in between (see PrefaultLane).
 */
import { UFFD } from '../native/abi.ts'
import type { FaultSink, FaultSource } from './fault-source.ts'
import { NO_PAGE, type RegionTable } from './region-table.ts'
import { EVENTS_PER_READ, type Userfaultfd } from './userfaultfd.ts'

const EVENT_WORDS = UFFD.MSG_BYTES / 4

export class UffdFaults implements FaultSource {
  readonly pollFd: number
  /** Faults at addresses that no region covers, and events we did not ask for. */
  strays = 0
  readonly #uffd: Userfaultfd
  readonly #regions: RegionTable
  readonly #reading: Int32Array
  readonly #readingAt: number

  constructor(uffd: Userfaultfd, regions: RegionTable, reading: Int32Array, readingAt: number) {
    this.pollFd = uffd.fd
    this.#uffd = uffd
    this.#regions = regions
    this.#reading = reading
    this.#readingAt = readingAt
  }

  pollFaults(sink: FaultSink): number {
    Atomics.store(this.#reading, this.#readingAt, 1) // Pairs with the load before a prefault placement.
    const count = this.#uffd.readEvents()
    if (count > 0) this.#handleRemovals(sink, count)
    Atomics.store(this.#reading, this.#readingAt, 0)
    const { u8, u32 } = this.#uffd.events
    for (let i = 0; i < count; i++) {
      if (u8[i * UFFD.MSG_BYTES] !== UFFD.EVENT_PAGEFAULT) continue
      const word = i * EVENT_WORDS
      const page = this.#regions.pageAt(u32[word + 5] as number, u32[word + 4] as number)
      if (page === NO_PAGE) this.strays++
      else sink.onFault(page)
    }
    return count
  }

  #handleRemovals(sink: FaultSink, count: number): void {
    const { u8, u32 } = this.#uffd.events
    for (let i = 0; i < count; i++) {
      const event = u8[i * UFFD.MSG_BYTES]
      if (event === UFFD.EVENT_PAGEFAULT) continue
      if (event !== UFFD.EVENT_REMOVE && event !== UFFD.EVENT_UNMAP) {
        this.strays++
        continue
      }
      const word = i * EVENT_WORDS
      this.#removeRange(
        sink,
        u32[word + 3] as number,
        u32[word + 2] as number,
        u32[word + 5] as number,
        u32[word + 4] as number,
      )
    }
  }

  /** The part of [start, end) in each region; a removal may span several, and gaps between them. */
  #removeRange(sink: FaultSink, startHi: number, startLo: number, endHi: number, endLo: number): void {
    const pageBytes = this.#regions.pageBytes
    for (let i = 0; i < this.#regions.count; i++) {
      const region = this.#regions.entry(i)
      const from = (startHi - region.baseHi) * 0x1_0000_0000 + (startLo - region.baseLo)
      const to = (endHi - region.baseHi) * 0x1_0000_0000 + (endLo - region.baseLo)
      const first = Math.max(0, Math.floor(from / pageBytes))
      const end = Math.min(region.pageCount, Math.ceil(to / pageBytes))
      if (end > first) sink.onRemove(region.firstPage + first, end - first)
    }
  }
}

export { EVENTS_PER_READ }
