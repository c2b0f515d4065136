/**
 * How a thread waits between turns. Spinning answers at once but takes a processor, which on a small machine may
 * be the very one that the awaited thread needs; sleeping costs a wake-up, 25 to 60 µs. Adaptive spins while an
 * answer is likely within the time that a wake-up costs, gives way inside the spin, and then sleeps.
 */
import { availableParallelism } from 'node:os'
import type { Clock } from '../clock.ts'
import { libc } from '../native/libc.ts'

/** A processor for every thread of a small measurement: source, demand agent, prefault agent, toucher. */
const HAS_SPARE_PROCESSORS = availableParallelism() >= 4

/** adaptive: spins for a while, then sleeps; spin: never sleeps; block: sleeps whenever there is nothing to do. */
export type WaitMode = 'adaptive' | 'spin' | 'block'
export const WAIT_MODES: readonly WaitMode[] = ['adaptive', 'spin', 'block']

export interface WaitStrategy {
  /** After a turn that did `work`: true when the thread should park now. */
  shouldPark(work: number): boolean
  /** The thread is back from its park. */
  onAwake(): void
}

/** Sleeps whenever there is nothing to do: one processor is enough for everybody. */
class BlockWait implements WaitStrategy {
  shouldPark(): boolean {
    return true
  }
  onAwake(): void {}
}

/** Never sleeps. Where two spinners may share a processor, each gives way in every idle turn, or it would take the other's slice. */
class SpinWait implements WaitStrategy {
  readonly #yield: () => void

  constructor(giveWay: () => void) {
    this.#yield = giveWay
  }

  shouldPark(work: number): boolean {
    if (work === 0 && !HAS_SPARE_PROCESSORS) this.#yield()
    return false
  }
  onAwake(): void {}
}

/**
 * An answer that has not come in this time is worth a wake-up. With fewer than four processors the spinner takes
 * time from the threads that it waits for, so it gives up sooner.
 */
const SPIN_NS = HAS_SPARE_PROCESSORS ? 100_000 : 20_000

/** Whoever gave way and was back only after this time shares its processor with somebody who does not give way. */
const LOST_NS = 1e6
/** Once is an accident; twice within so many times of giving way, and it sleeps instead. */
const BACK_SOON_MIN = 200
/** For so long, and twice as long each time that it finds the processor busy again. */
const ASLEEP_NS_MIN = 5e6
const ASLEEP_NS_MAX = 500e6

/**
 * Beside a program that computes, giving way means to wait for the scheduler's tick: 4 ms and more. Who sleeps and is woken goes first. Beside
 * three such programs on two processors 3000 stalls took 4.0 to 5.3 s in all, and take 1.2; always asleep, 0.8.
 */
export class AdaptiveWait implements WaitStrategy {
  readonly #clock: Clock
  readonly #spinNs: number
  readonly #yield: () => void
  #idleSinceNs = 0
  #idleTurns = 0
  #gaveWayNs = 0
  #backSoon = BACK_SOON_MIN
  #asleepNs = ASLEEP_NS_MIN
  #asleepUntilNs = 0

  constructor(clock: Clock, giveWay: () => void, spinNs = SPIN_NS) {
    this.#clock = clock
    this.#yield = giveWay
    this.#spinNs = spinNs
  }

  shouldPark(work: number): boolean {
    if (work > 0) {
      if (this.#idleTurns > 0) this.#look(this.#clock.nowNs())
      this.#idleTurns = 0
      return false
    }
    const nowNs = this.#clock.nowNs()
    if (this.#idleTurns > 0) this.#look(nowNs)
    if (nowNs < this.#asleepUntilNs) return true
    if (this.#idleTurns++ === 0) this.#idleSinceNs = nowNs
    else if (nowNs - this.#idleSinceNs > this.#spinNs) return true
    this.#gaveWayNs = nowNs
    this.#yield()
    return false
  }

  onAwake(): void {
    this.#idleTurns = 0
  }

  /** How long was it away when it gave way last? */
  #look(nowNs: number): void {
    if (nowNs - this.#gaveWayNs <= LOST_NS) {
      if (++this.#backSoon === BACK_SOON_MIN) this.#asleepNs = ASLEEP_NS_MIN
      return
    }
    if (this.#backSoon < BACK_SOON_MIN) {
      this.#asleepUntilNs = nowNs + this.#asleepNs
      this.#asleepNs = Math.min(2 * this.#asleepNs, ASLEEP_NS_MAX)
    }
    this.#backSoon = 0
  }
}

/** Lets another thread have this processor, where there may be one that needs it. */
export function makeGiveWay(isYielding: boolean): (() => void) | undefined {
  return isYielding && !HAS_SPARE_PROCESSORS ? libc().sched_yield : undefined
}

/**
 * @param isYielding false: who spins keeps its processor (level `yield`)
 * @param spinNs how long adaptive spins; a rehearsal spins less, to sleep more often
 */
export function makeWait(
  mode: WaitMode,
  clock: Clock,
  isYielding = true,
  spinNs: number = SPIN_NS,
): WaitStrategy {
  if (mode === 'block') return new BlockWait()
  const giveWay = isYielding ? libc().sched_yield : () => {}
  return mode === 'spin' ? new SpinWait(giveWay) : new AdaptiveWait(clock, giveWay, spinNs)
}
