/**
 * Places what prefault has received. While demand is about, those pages of a run go first that somebody waits for, and the rest in
 * calls of some 40 µs: whoever waits for a page is woken at the end of the call that places it. Owned by the prefault lane.
 */
import type { Clock } from '../clock.ts'
import { PLACED, type Placer } from '../fault/fault-source.ts'
import { PAGE, type PageTable } from '../memory/page-table.ts'
import type { Board } from './board.ts'

/** About 10 µs of looking whether the demand agent is still reading events. */
const READING_LOOKS_MAX = 1000
/**
 * Then it seems to have lost the processor, to us for all we know. So often it is given a chance to finish, some 60 µs each, before the run is
 * put aside, which costs a copy of every page, and whoever waits for one of them the time until all that was put aside is placed.
 */
const PAUSES_MAX = 16
/**
 * What one call takes while demand is about. Where bringing a page takes 9 µs (nested virtualisation), in calls of 16 pages a client that
 * runs into what is in flight waited 140 µs (median), in calls of 4 pages 45 (4 alternating runs each).
 */
const CALL_NS = 40_000
/** Pages of one such call at most; a long read is 256. */
const CALL_PAGES_MAX = 16
/** Weight of the last call in what a page is believed to take, and by how much one call may exceed that: it may have been interrupted. */
const LAST_CALL_WEIGHT = 1 / 8
const LONGER_MAX = 4
/** Pages of one run that are placed before their turn. */
const AHEAD_MAX = 16

export interface RunPlacerParts {
  readonly table: PageTable
  readonly board: Board
  readonly clock: Clock
  readonly pageBytes: number
  /** Sleeps as shortly as can be: some 60 µs. */
  readonly pause: () => void
  /** Told of pages that have been placed. */
  readonly settle: (firstPage: number, pageCount: number) => void
}

export class RunPlacer {
  /** Of the last run: PLACED.AGAIN and PLACED.GONE as the kernel has said, PLACED.AGAIN also while the demand agent is in the way. */
  status: number = PLACED.ALL
  readonly #parts: RunPlacerParts
  readonly #table: PageTable
  /** Pages of the last run that were placed before their turn, because somebody waits for them. */
  readonly #ahead = new Int32Array(AHEAD_MAX)
  #aheadCount = 0
  #nsPerPage = CALL_NS / CALL_PAGES_MAX

  constructor(parts: RunPlacerParts) {
    this.#parts = parts
    this.#table = parts.table
  }

  /**
   * Places a run, but for what the client has removed meanwhile. How many of its pages are done with, from the first on; of the others
   * those that isAhead() are placed. Fewer than all: `status` says why.
   *
   * @param isWatched demand is about
   */
  place(placer: Placer, firstPage: number, pageCount: number, address: number, isWatched: boolean): number {
    this.#aheadCount = 0
    this.status = PLACED.AGAIN
    if (!this.#beginPlacing()) return 0
    const done = this.#placeUnremoved(placer, firstPage, pageCount, address, isWatched)
    this.#parts.board.endPlacing()
    return done
  }

  isAhead(page: number): boolean {
    for (let i = 0; i < this.#aheadCount; i++) if (this.#ahead[i] === page) return true
    return false
  }

  /** Waits out a read of events, which takes about a microsecond; false when its thread does not get the processor. */
  #beginPlacing(): boolean {
    const { board, pause } = this.#parts
    for (let pauses = 0; ; pauses++) {
      for (let look = 0; look < READING_LOOKS_MAX; look++) if (board.tryBeginPlacing()) return true
      if (pauses === PAUSES_MAX) return false
      pause()
    }
  }

  #placeUnremoved(
    placer: Placer,
    firstPage: number,
    pageCount: number,
    address: number,
    isWatched: boolean,
  ): number {
    const { pageBytes, settle } = this.#parts
    const end = firstPage + pageCount
    this.status = PLACED.ALL
    let done = 0
    while (done < pageCount) {
      const page = firstPage + done
      if (isWatched && !this.#placeAwaited(placer, firstPage, page, end, address)) break
      if (this.#table.state(page) === PAGE.REMOVED || this.isAhead(page)) {
        done++
        continue
      }
      // Plain loads will do: beginPlacing() came after whatever was marked before it, and nothing is marked until it ends.
      const most = isWatched ? Math.min(pageCount - done, this.#callPages()) : pageCount - done
      let run = this.#table.run(PAGE.PREFAULTING, page, most)
      if (run < most) run = this.#table.find(PAGE.REMOVED, page + 1, page + most) - page
      run = this.#upToAhead(page, run)
      const placed = this.#timedPlace(placer, page, run, address + done * pageBytes)
      settle(page, placed)
      done += placed
      if (placed === run) continue
      this.status = placer.status
      break
    }
    return done
  }

  #callPages(): number {
    return Math.max(1, Math.min(CALL_PAGES_MAX, Math.floor(CALL_NS / this.#nsPerPage)))
  }

  #timedPlace(placer: Placer, page: number, pages: number, address: number): number {
    const { clock } = this.#parts
    const startNs = clock.nowNs()
    const placed = placer.place(page, pages, address)
    if (placed > 0) {
      const ns = Math.min((clock.nowNs() - startNs) / placed, LONGER_MAX * this.#nsPerPage)
      this.#nsPerPage = Math.max(1, this.#nsPerPage + (ns - this.#nsPerPage) * LAST_CALL_WEIGHT)
    }
    return placed
  }

  /** Places those of the pages from `page` to `end` that somebody waits for; false when the kernel will not. */
  #placeAwaited(placer: Placer, firstPage: number, page: number, end: number, address: number): boolean {
    const { board, pageBytes, settle } = this.#parts
    if (board.pending() === 0) return true
    for (let at = page; this.#aheadCount < AHEAD_MAX; at++) {
      at = this.#table.find(PAGE.PROMOTED, at, end)
      if (at >= end) return true
      if (placer.place(at, 1, address + (at - firstPage) * pageBytes) === 0) {
        this.status = placer.status
        return false
      }
      this.#ahead[this.#aheadCount++] = at
      settle(at, 1)
    }
    return true
  }

  /** How many of `pages` pages from this one on come before the next that is placed already. */
  #upToAhead(page: number, pages: number): number {
    let run = pages
    for (let i = 0; i < this.#aheadCount; i++) {
      const before = (this.#ahead[i] as number) - page
      if (before >= 0 && before < run) run = before
    }
    return run
  }
}
