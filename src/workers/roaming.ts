/**
 * Whether the demand agent keeps to the first of two processors or may run on both, found out while it works. Beside the source
 * on the first, no hop of a fault wakes a processor from its sleep, except the last one, to the toucher's; free, the
 * two spin on both, so that neither sleeps. Which is faster is the machine's: where waking the toucher's processor is slow, stalls
 * of 5000 touches had a median of 34 µs kept and 24 free (2 × Xeon), and elsewhere 62 kept and 119 free (2 × AMD EPYC).
 * Kept has the shorter tail (p99.9 0.2 ms against 0.9), so free must be clearly faster.
 *
 * Judged by the time from fault to fault while a client faults without a break, in turns of both. A client that faults
 * now and then tells nothing, and has the agent kept.
 */
import type { Clock } from '../clock.ts'
import type { WaitStrategy } from './wait.ts'

/** Turns with work between two looks: some 64 faults. */
const TURNS_PER_PERIOD = 128
/** Kept, free, kept, free: each is judged by the better of its two. */
const TRIAL_PERIODS = 4
/** Then the better one, for some 20,000 faults. */
const PERIODS_PER_CHOICE = 320
/** From one fault to the next, at most, of a client that does little else. */
const BUSY_NS_MAX = 200_000
/** Free is chosen when it takes at most this part of kept's time. */
const FREE_GAIN = 0.9

/** Goes on waiting as the strategy that it is given does. */
export class Roaming implements WaitStrategy {
  readonly #wait: WaitStrategy
  readonly #clock: Clock
  readonly #faults: () => number
  readonly #settle: (isFree: boolean) => void
  #isFree = false
  #turns = 0
  #periods = 0
  #beganNs: number
  #beganFaults = 0
  #keptNs = Number.POSITIVE_INFINITY
  #freeNs = Number.POSITIVE_INFINITY

  /**
   * @param faults how many there have been
   * @param settle lets the calling thread run on every processor, or keeps it to the first, as it is now
   */
  constructor(wait: WaitStrategy, clock: Clock, faults: () => number, settle: (isFree: boolean) => void) {
    this.#wait = wait
    this.#clock = clock
    this.#faults = faults
    this.#settle = settle
    this.#beganNs = clock.nowNs()
  }

  shouldPark(work: number): boolean {
    if (work > 0 && ++this.#turns === TURNS_PER_PERIOD) this.#look()
    return this.#wait.shouldPark(work)
  }

  onAwake(): void {
    this.#wait.onAwake()
  }

  #look(): void {
    const nowNs = this.#clock.nowNs()
    const faults = this.#faults()
    const ns = (nowNs - this.#beganNs) / (faults - this.#beganFaults)
    if (ns <= BUSY_NS_MAX) this.#judge(ns)
    else this.#restart()
    this.#turns = 0
    this.#beganNs = nowNs
    this.#beganFaults = faults
  }

  /** @param ns from fault to fault in the period that ends */
  #judge(ns: number): void {
    if (++this.#periods > TRIAL_PERIODS) {
      if (this.#periods === PERIODS_PER_CHOICE) this.#restart()
      return
    }
    if (this.#isFree) this.#freeNs = Math.min(this.#freeNs, ns)
    else this.#keptNs = Math.min(this.#keptNs, ns)
    if (this.#periods < TRIAL_PERIODS) this.#move(!this.#isFree)
    else this.#move(this.#freeNs <= FREE_GAIN * this.#keptNs)
  }

  #restart(): void {
    this.#periods = 0
    this.#keptNs = Number.POSITIVE_INFINITY
    this.#freeNs = Number.POSITIVE_INFINITY
    this.#move(false)
  }

  #move(isFree: boolean): void {
    if (isFree !== this.#isFree) this.#settle(isFree)
    this.#isFree = isFree
  }
}
