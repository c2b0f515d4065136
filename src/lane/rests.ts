/**
 * Rests of the prefault thread beside a client that faults, where threads share processors. Without them it works as long as replies come, and
 * each of the threads that a fault goes through waits for it, for its processor or for memory that both bring at the same time: on loopback
 * the p99 of one thread in a closed loop was 2.1 times the idle one. It rests awake, giving way: whoever wakes goes first, and the processor
 * is spared the way from its sleep (2 × AMD EPYC: p50 38 µs awake, 47 asleep). But where others want the processor for longer it sleeps: of 16
 * threads the p50 was 236 to 272 µs beside one that rested awake, 192 asleep. A wire that is slower than the thread makes rests of its own,
 * and these count.
 */
import type { Clock } from '../clock.ts'

/** It works for so long at a time, and until its turn ends. */
const WORK_NS = 15_000
/** A rest is so many times as long as what came before it. */
const REST_FACTOR = 4
/** It may have been away from its processor meanwhile, which was no work. */
const REST_NS_MAX = 700_000
/** Whoever gave way and was back only after this time is in the way of others: not of one thread that faults anew. */
const AWAY_NS = 25_000
/** A sleep that is no shorter is a rest. */
const SLEPT_NS_MIN = 15_000

/** What the lane says. */
export interface Resting {
  /** Faults have come since the last call that are not to meet prefault all the time. */
  takeRest(): boolean
  /** Threads that stand still. */
  readonly waiting: number
  /** Somebody waits for a page that prefault has in flight. */
  readonly isAwaited: boolean
}

export interface RestsParts {
  readonly clock: Clock
  /** Lets other threads have the processor. */
  readonly giveWay: () => void
  /** Sleeps for so long, or until somebody waits for a page that the lane has in flight. */
  readonly sleep: (ns: number, lane: Resting) => void
  /** How many times as long as its work a rest is; a rehearsal does not stand about. Default: four. */
  readonly factor?: number | undefined
}

export class Rests {
  readonly #parts: RestsParts
  readonly #clock: Clock
  readonly #factor: number
  #workSinceNs = 0
  #asleepSinceNs = 0

  constructor(parts: RestsParts) {
    this.#parts = parts
    this.#clock = parts.clock
    this.#factor = parts.factor ?? REST_FACTOR
  }

  /** After a turn that did something: rests, when it is time to. */
  afterTurn(lane: Resting): void {
    const nowNs = this.#clock.nowNs()
    const workedNs = nowNs - this.#workSinceNs
    if (workedNs < WORK_NS) return
    if (!lane.takeRest()) {
      this.#workSinceNs = nowNs
      return
    }
    const endNs = nowNs + Math.min(REST_NS_MAX, this.#factor * workedNs)
    let lastNs = nowNs
    let isInTheWay = lane.waiting > 1
    while (!lane.isAwaited && lastNs < endNs) {
      if (isInTheWay) this.#parts.sleep(endNs - lastNs, lane)
      else this.#parts.giveWay()
      const atNs = this.#clock.nowNs()
      if (atNs - lastNs >= AWAY_NS) isInTheWay = true
      lastNs = atNs
    }
    this.#workSinceNs = lastNs
  }

  beforeSleep(): void {
    this.#asleepSinceNs = this.#clock.nowNs()
  }

  afterSleep(): void {
    const nowNs = this.#clock.nowNs()
    if (nowNs - this.#asleepSinceNs >= SLEPT_NS_MIN) this.#workSinceNs = nowNs
  }
}
