/**
 * Places long runs from two threads at once, where the source's processor takes no part and would idle (shm). One thread places
 * at 2.0 to 2.5 GB/s whatever asks it to, two at 3.7 to 4.3: each page is an allocation, a charge and a copy out of cold memory
 * (UFFDIO_COPY of halves of 512 KiB from a mapped memfd, in C, 2 × Xeon).
 */

import { type Libc, libc } from '../native/libc.ts'
import { keepThread } from '../native/sched.ts'
import { type Errand, NOT_BEGUN } from './errand.ts'
import type { Placer } from './fault-source.ts'

/** Runs of at least so many pages are worth a wake-up: only reads of a quiet road are. */
const TWIN_PAGES_MIN = 64

export class TwinPlacer implements Placer {
  status = 0
  readonly #libc: Libc = libc()
  /** Two, where the helper is to keep to the one that the caller is not on; else nobody is sent anywhere. */
  readonly #processors: readonly number[]
  /** Where the helper was last sent; −1: nowhere. */
  #helperAt = -1
  readonly #placer: Placer
  readonly #errand: Errand
  readonly #userfaultfd: number
  readonly #pageBytes: number

  /**
   * @param placer of the calling thread, for the same client as `userfaultfd`
   * @param processors that both threads may be sent to; none: the kernel chooses
   */
  constructor(
    placer: Placer,
    errand: Errand,
    userfaultfd: number,
    pageBytes: number,
    processors: readonly number[],
  ) {
    this.#processors = processors
    this.#placer = placer
    this.#errand = errand
    this.#userfaultfd = userfaultfd
    this.#pageBytes = pageBytes
  }

  /** Nothing of the run is under way any more when it returns. */
  place(firstPage: number, pageCount: number, address: number): number {
    if (pageCount < TWIN_PAGES_MIN || this.#errand.helper === 0)
      return this.#own(firstPage, pageCount, address)
    const ours = pageCount >> 1
    const theirs = pageCount - ours
    const theirAddress = address + ours * this.#pageBytes
    this.#sendAway()
    this.#errand.give(this.#userfaultfd, firstPage + ours, theirs, theirAddress)
    const placed = this.#own(firstPage, ours, address)
    const theirPlaced = this.#errand.settle()
    // Not all of ours: what lies behind the gap is tried again, and what is there already is no error.
    if (placed < ours) return placed
    if (theirPlaced === NOT_BEGUN) return ours + this.#own(firstPage + ours, theirs, theirAddress)
    this.status = this.#errand.status
    return ours + theirPlaced
  }

  /** With two processors the kernel wakes the helper on ours, where it waits for us: it keeps to the other one. */
  #sendAway(): void {
    if (this.#processors.length !== 2) return
    const here = this.#libc.sched_getcpu()
    if (this.#helperAt >= 0 && this.#helperAt !== here) return
    const there = this.#processors[here === this.#processors[0] ? 1 : 0] as number
    if (keepThread([there], this.#errand.helper)) this.#helperAt = there
  }

  #own(firstPage: number, pageCount: number, address: number): number {
    const placed = this.#placer.place(firstPage, pageCount, address)
    this.status = this.#placer.status
    return placed
  }

  placeZero(firstPage: number, pageCount: number): number {
    const placed = this.#placer.placeZero(firstPage, pageCount)
    this.status = this.#placer.status
    return placed
  }

  wake(page: number): void {
    this.#placer.wake(page)
  }

  lose(firstPage: number, pageCount: number): void {
    this.#placer.lose(firstPage, pageCount)
  }
}
