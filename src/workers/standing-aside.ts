/**
 * Keeps prefault off the processor of the demand road, with two of them, as long as it gets its turns on the other. On the
 * road's own it held the source up for 0.8 to 1.1 ms at a time, although the other slept: whoever is woken stays where it was
 * woken, and the kernel evens that out in ticks. But beside busy vCPUs on the other it starves; then it may run on both.
 */
import type { Clock } from '../clock.ts'
import type { WaitStrategy } from './wait.ts'

/** What the kernel knows of a thread, nanoseconds: how long it has run, and how long it could have. */
export interface ThreadTimes {
  readonly ranNs: number
  readonly waitedNs: number
}

const LOOK_NS = 20e6
/** It starves when it waits for more than so much of the time that it wants. */
const WAITED_MAX = 0.5
/** Then it is left alone for so long: as little as does, for on the road's processor it delays source and demand agent. */
const FREE_NS = 60e6

/** Goes on waiting as the strategy that it is given does. */
export class StandingAside implements WaitStrategy {
  readonly #wait: WaitStrategy
  readonly #clock: Clock
  readonly #times: () => ThreadTimes
  readonly #settle: (isFree: boolean) => void
  #isFree = false
  #lookNs: number
  #last: ThreadTimes

  /** @param settle lets the calling thread run on both, or keeps it to the other; it is kept there from now on */
  constructor(wait: WaitStrategy, clock: Clock, times: () => ThreadTimes, settle: (isFree: boolean) => void) {
    this.#wait = wait
    this.#clock = clock
    this.#times = times
    this.#settle = settle
    this.#last = times()
    this.#lookNs = clock.nowNs() + LOOK_NS
    settle(false)
  }

  shouldPark(work: number): boolean {
    if (work > 0 && this.#clock.nowNs() >= this.#lookNs) this.#look()
    return this.#wait.shouldPark(work)
  }

  onAwake(): void {
    this.#wait.onAwake()
  }

  #look(): void {
    const times = this.#times()
    const ran = times.ranNs - this.#last.ranNs
    const waited = times.waitedNs - this.#last.waitedNs
    const isStarving = !this.#isFree && waited > WAITED_MAX * (ran + waited)
    if (isStarving !== this.#isFree) this.#settle(isStarving)
    this.#isFree = isStarving
    this.#last = times
    this.#lookNs = this.#clock.nowNs() + (isStarving ? FREE_NS : LOOK_NS)
  }
}
