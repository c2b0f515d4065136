/**
 * Reads the events of one userfaultfd session for the demand agent. Removals of a batch are handled before its
 * faults, because the kernel delivers them in no causal order and a page removed must read zero.
 *
 * Reading a REMOVE lets the client go on and drop the range, so from there until it is marked no other thread may
 * have a placement open that it has decided on before. Neither thread waits for the other: `reading` is raised
 * before the kernel is asked, and then nobody else begins to place; while `placing` shows a placement open, only
 * faults are read, as many as the kernel says there are, and a removal waits for the next turn.
 */
import { UFFD } from '../native/abi.ts'
import type { FaultSink, FaultSource } from './fault-source.ts'
import { PendingFaults } from './pending-faults.ts'
import { NO_PAGE, type RegionTable } from './region-table.ts'
import { EVENTS_PER_READ, type Userfaultfd } from './userfaultfd.ts'

const EVENT_WORDS = UFFD.MSG_BYTES / 4

/** One word of shared memory. */
export interface SharedWord {
  readonly words: Int32Array
  readonly index: number
}

export class UffdFaults implements FaultSource {
  readonly pollFd: number
  /** Faults at addresses that no region covers, and events we did not ask for. */
  strays = 0
  /**
   * Removals read beside an open placement after all: a fault counted as pending was gone when it was read, because
   * a signal took its thread away, or the kernel does not tell the count.
   */
  racedRemovals = 0
  readonly #uffd: Userfaultfd
  readonly #regions: RegionTable
  readonly #reading: SharedWord
  readonly #placing: SharedWord
  readonly #pending: PendingFaults

  /** @param placing not zero while another thread places into this client */
  constructor(uffd: Userfaultfd, regions: RegionTable, reading: SharedWord, placing: SharedWord) {
    this.pollFd = uffd.fd
    this.#uffd = uffd
    this.#regions = regions
    this.#reading = reading
    this.#placing = placing
    this.#pending = new PendingFaults(uffd.fd)
  }

  close(): void {
    this.#pending.close()
  }

  pollFaults(sink: FaultSink): number {
    // Each side raises its word and then looks at the other's: pairs with Board.tryBeginPlacing().
    Atomics.store(this.#reading.words, this.#reading.index, 1)
    let most = EVENTS_PER_READ
    const isPlacing = Atomics.load(this.#placing.words, this.#placing.index) !== 0
    if (isPlacing) {
      const pending = this.#pending.count()
      if (pending >= 0) most = Math.min(pending, EVENTS_PER_READ)
    }
    const count = most === 0 ? 0 : this.#uffd.readEvents(most)
    if (count > 0) {
      const removals = this.#handleRemovals(sink, count)
      if (isPlacing) this.racedRemovals += removals
    }
    Atomics.store(this.#reading.words, this.#reading.index, 0)
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

  #handleRemovals(sink: FaultSink, count: number): number {
    const { u8, u32 } = this.#uffd.events
    let removals = 0
    for (let i = 0; i < count; i++) {
      const event = u8[i * UFFD.MSG_BYTES]
      if (event === UFFD.EVENT_PAGEFAULT) continue
      if (event !== UFFD.EVENT_REMOVE && event !== UFFD.EVENT_UNMAP) {
        this.strays++
        continue
      }
      removals++
      const word = i * EVENT_WORDS
      this.#removeRange(
        sink,
        u32[word + 3] as number,
        u32[word + 2] as number,
        u32[word + 5] as number,
        u32[word + 4] as number,
      )
    }
    return removals
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
