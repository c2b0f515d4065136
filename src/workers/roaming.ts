/**
 * Which of two processors the demand agent keeps to, found out while it works. Together with the source on the first, no hop of a
 * fault wakes a processor from its sleep, except the last one, to the toucher's; apart from it on the second, the two spin side by
 * side, so that neither sleeps nor gives way to the other. Which is faster is the machine's: stalls of 5000 touches had a median of 30 µs
 * together and 21 apart (2 × Xeon), and elsewhere 62 together and 119 where the kernel chose (2 × AMD EPYC).
 * Together has the shorter tail (p99.9 0.3 to 0.7 ms against 0.9), so apart must be clearly faster.
 *
 * Judged by the time from fault to fault while a client faults without a break, in turns of both. A client that faults
 * now and then tells nothing, and has the agent together with the source.
 */
import type { Clock } from '../clock.ts'
import type { WaitStrategy } from './wait.ts'

/** Turns with work between two looks: some 64 faults. */
const TURNS_PER_PERIOD = 128
/** Together, apart and so on: each is judged by the best of its four. */
const TRIAL_PERIODS = 8
/** Then the better one, for some 20,000 faults. */
const PERIODS_PER_CHOICE = 320
/** From one fault to the next, at most, of a client that does little else. */
const BUSY_NS_MAX = 400_000
/** Apart is chosen when it takes at most this part of the time. */
const APART_GAIN = 0.95
/**
 * The same beside prefault. Two vCPUs that compute in between, beside prefault, stood still for 1.09 times as long
 * in all as without it where 0.95 was enough, and 0.97 times with 0.8 (medians of 4 runs, 2 × AMD EPYC). But with 0.8 one
 * thread in a closed loop missed the better processor where a page takes 10 µs.
 */
export const APART_GAIN_BESIDE_PREFAULT = 0.9
/** A choice that takes this many times what it took in its trial is no longer the one that was tried: the toucher was moved. */
const OUTDATED = 1.5
/** For so many periods in a row, and twice as many each time, until a choice has held: a client that changes is not tried all the time. */
const OUTDATED_PERIODS = 4

/** Goes on waiting as the strategy that it is given does. */
export class Roaming implements WaitStrategy {
  readonly #wait: WaitStrategy
  readonly #clock: Clock
  readonly #faults: () => number
  readonly #settle: (isApart: boolean) => void
  readonly #apartGain: number
  #isApart = false
  #turns = 0
  #periods = 0
  #beganNs: number
  #beganFaults = 0
  #togetherNs = Number.POSITIVE_INFINITY
  #apartNs = Number.POSITIVE_INFINITY
  #outdatedPeriods = 0
  #patience = OUTDATED_PERIODS

  /**
   * @param faults how many there have been
   * @param settle keeps the calling thread to the second processor, or to the first, as it is now
   */
  constructor(
    wait: WaitStrategy,
    clock: Clock,
    faults: () => number,
    settle: (isApart: boolean) => void,
    apartGain = APART_GAIN,
  ) {
    this.#wait = wait
    this.#clock = clock
    this.#faults = faults
    this.#settle = settle
    this.#apartGain = apartGain
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
      this.#watch(ns)
      return
    }
    if (this.#isApart) this.#apartNs = Math.min(this.#apartNs, ns)
    else this.#togetherNs = Math.min(this.#togetherNs, ns)
    if (this.#periods < TRIAL_PERIODS) this.#move(!this.#isApart)
    else this.#move(this.#apartNs <= this.#apartGain * this.#togetherNs)
  }

  /** Tries again when the choice has held for long enough, or holds no longer. */
  #watch(ns: number): void {
    const triedNs = this.#isApart ? this.#apartNs : this.#togetherNs
    this.#outdatedPeriods = ns > OUTDATED * triedNs ? this.#outdatedPeriods + 1 : 0
    if (this.#periods === PERIODS_PER_CHOICE) {
      this.#patience = OUTDATED_PERIODS
      this.#restart()
    } else if (this.#outdatedPeriods === this.#patience) {
      this.#patience *= 2
      this.#restart()
    }
  }

  #restart(): void {
    this.#periods = 0
    this.#outdatedPeriods = 0
    this.#togetherNs = Number.POSITIVE_INFINITY
    this.#apartNs = Number.POSITIVE_INFINITY
    this.#move(false)
  }

  #move(isApart: boolean): void {
    if (isApart !== this.#isApart) this.#settle(isApart)
    this.#isApart = isApart
  }
}
