/**
 * Faultlane's own window: fills the road to the source and keeps next to nothing queued on it, so that a demand
 * reply finds at most a page or two of bulk ahead of it on a slow link, and some tens of microseconds on any.
 *
 * Two lengths of read are in use. Long ones (a quantum) cost the processors least; while demand is active a read is
 * only as long as the road carries in READ_NS, which the difference of the two lengths' shortest round trips tells.
 *
 * Like TCP Vegas (Brakmo 1994) it estimates what it has queued itself, window × (1 − shortest round trip ÷ this
 * round trip), and moves by a step a round trip to hold that between one and two reads. The shortest round trips
 * age, so that a changed route is noticed.
 */
import type { Window } from './window.ts'

/** Demand is active for this long after its last fault: one fault a millisecond keeps bulk small all the time. */
const ACTIVE_NS = 20e6
/** What one read may occupy the road for while demand is active; a page at least (33 µs at 1 Gbit/s). */
const READ_NS = 40_000
/** Never more in flight: 16 MiB are 13 Gbit/s at 10 ms. */
const WINDOW_BYTES_MAX = 16 << 20
/** The shortest round trip grows by this share with each sample that does not confirm it. */
const AGING = 1 / 2000

/** The estimate for one length of read. */
class Pace {
  shortestNs = 0
  window: number
  readonly #step: number
  #movedAtNs = 0
  #isStarting = true

  constructor(step: number) {
    this.#step = step
    this.window = 2 * step
  }

  onCompletion(rttNs: number, nowNs: number): void {
    if (this.shortestNs === 0 || rttNs < this.shortestNs) this.shortestNs = rttNs
    else this.shortestNs *= 1 + AGING
    if (nowNs - this.#movedAtNs < rttNs) return // Once a round trip: the last move has not shown yet.
    this.#movedAtNs = nowNs
    const queued = this.window * (1 - this.shortestNs / rttNs)
    if (queued < this.#step) {
      // Doubling until the first sign of a queue: a long road takes many steps to fill.
      this.window = Math.min(this.#isStarting ? this.window * 2 : this.window + this.#step, WINDOW_BYTES_MAX)
      return
    }
    this.#isStarting = false
    if (queued > 2 * this.#step) this.window = Math.max(2 * this.#step, this.window - this.#step)
  }
}

export class AdaptiveWindow implements Window {
  readonly #pageBytes: number
  /** By pages of a read: index 1 and the longest are measured first, the others as they come into use. */
  readonly #paces: Pace[]
  readonly #pagesMax: number
  #demandAtNs = Number.NEGATIVE_INFINITY

  /** @param pagesMax of one read: a quantum */
  constructor(pageBytes: number, pagesMax: number) {
    this.#pageBytes = pageBytes
    this.#pagesMax = pagesMax
    this.#paces = Array.from({ length: pagesMax + 1 }, (_, pages) => new Pace(Math.max(1, pages) * pageBytes))
  }

  onDemand(nowNs: number): void {
    this.#demandAtNs = nowNs
  }

  readPages(pagesMax: number, nowNs: number): number {
    return Math.min(pagesMax, this.#pages(nowNs))
  }

  bytes(demandPending: number, nowNs: number): number {
    if (demandPending > 0) this.#demandAtNs = nowNs
    return this.#pace(this.#pages(nowNs)).window
  }

  onCompletion(bytes: number, rttNs: number, nowNs: number): void {
    const pages = Math.round(bytes / this.#pageBytes)
    if (pages <= this.#pagesMax) this.#pace(pages).onCompletion(rttNs, nowNs)
  }

  #pace(pages: number): Pace {
    return this.#paces[pages] as Pace
  }

  #pages(nowNs: number): number {
    const one = this.#pace(1).shortestNs
    if (one === 0) return 1 // The first reads of a session measure the two lengths.
    const longest = this.#pace(this.#pagesMax).shortestNs
    if (nowNs - this.#demandAtNs >= ACTIVE_NS || longest === 0) return this.#pagesMax
    const pageNs = Math.max(1, (longest - one) / (this.#pagesMax - 1))
    return Math.max(1, Math.min(this.#pagesMax, Math.floor(READ_NS / pageNs)))
  }
}
