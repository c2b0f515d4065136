/**
 * When those pages came that prefault had in flight and that a thread waited for. The thread is woken as its page is placed; the demand agent
 * sees it in a turn to come, behind whoever has its processor meanwhile. Lies in shared memory: the prefault agent writes, the demand
 * agent reads, both by one clock.
 *
 * Words, two for each slot, which is the page number's low bits: page + 1 while the time holds, else 0; the time.
 */
import type { Clock } from '../clock.ts'

const SLOTS = 64
export const ARRIVALS_WORDS = 2 * SLOTS
/** A time is told in steps of 64 ns, modulo two minutes. */
const STEP_NS = 64
const STEPS = 2 ** 31

export class Arrivals {
  readonly #words: Int32Array
  readonly #offset: number

  constructor(words: Int32Array, offset: number) {
    this.#words = words
    this.#offset = offset
  }

  /** Prefault agent only: it is placed, and says so next in the page table. */
  note(page: number, clock: Clock): void {
    const at = this.#slot(page)
    Atomics.store(this.#words, at, 0)
    Atomics.store(this.#words, at + 1, stepOf(clock.nowNs()))
    Atomics.store(this.#words, at, page + 1)
  }

  /**
   * When it came, nanoseconds: not before `sinceNs`, not after `nowNs`, and `nowNs` where that is no longer known.
   *
   * @param sinceNs the page was waited for from then on
   */
  timeNs(page: number, sinceNs: number, nowNs: number): number {
    const at = this.#slot(page)
    if (Atomics.load(this.#words, at) !== page + 1) return nowNs
    const step = Atomics.load(this.#words, at + 1)
    if (Atomics.load(this.#words, at) !== page + 1) return nowNs
    const agoNs = ((stepOf(nowNs) - step + STEPS) % STEPS) * STEP_NS
    return nowNs - agoNs < sinceNs ? nowNs : nowNs - agoNs
  }

  #slot(page: number): number {
    return this.#offset + 2 * (page % SLOTS)
  }
}

function stepOf(ns: number): number {
  return Math.floor(ns / STEP_NS) % STEPS
}
