/**
 * A thread that really faults: touches missing pages of a client's memory at intended times (open loop), back to
 * back (closed loop), or along a given road (walk), and records how long each touch took. Owned by one worker.
 *
 * Light on the processor: between two touches it sleeps. An open-loop latency counts from the intended start:
 * a touch that had to wait for the one before it is charged with that wait. Only the timer's own lateness, when the
 * thread was free and asleep, is kept apart (`lateness`), because no page had to do with it.
 */
import type { Clock } from '../clock.ts'
import { viewOf } from '../native/libc.ts'
import { PollSet } from '../native/poll-set.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { stallLineNs } from './first-touch.ts'
import { MissingPages } from './missing-pages.ts'

/** States of the shared word TOUCHER_WORDS.PHASE, in their order. */
export const PHASE = { WAIT: 0, WARM: 1, MEASURE: 2, STOP: 3 } as const
/** ADDRESS: two words, low and high; written before there are threads, which view the memory before it is handed over. */
export const TOUCHER_WORDS = { PHASE: 0, ADDRESS: 2, COUNT: 16 } as const

/** Where the memory is, as TOUCHER_WORDS.ADDRESS says it. */
export function tellAddress(control: Int32Array, address: number): void {
  control[TOUCHER_WORDS.ADDRESS] = address | 0
  control[TOUCHER_WORDS.ADDRESS + 1] = Math.floor(address / 0x1_0000_0000)
}

function toldAddress(control: Int32Array): number {
  const low = (control[TOUCHER_WORDS.ADDRESS] as number) >>> 0
  return (control[TOUCHER_WORDS.ADDRESS + 1] as number) * 0x1_0000_0000 + low
}

/** A touch faster than this found the page there: no fault through a handler takes less than 5 µs. */
const HIT_NS_MAX = 2500
const SLEEP_MS_MAX = 50
/** Nothing ends a nap: so late a thread learns that it is to stop. */
const NAP_MS_MAX = 5
const TOUCHES_MAX = 2 ** 30
/** Of a closed loop: with nine tenths of the pages there, one time in a thousand. */
const HITS_IN_A_ROW_MAX = 64

export interface ToucherPlan {
  readonly bytes: number
  readonly pageSize: number
  readonly mode: 'open' | 'closed' | 'walk'
  /** Open loop: mean of the exponential gaps between intended starts. */
  readonly meanGapNs: number
  /** Walk: the pages in their order. */
  readonly pages: Uint32Array
  readonly seed: number
  /** TOUCHER_WORDS, shared by all touchers of a cell. */
  readonly control: Int32Array<SharedArrayBuffer>
  readonly latency: Int32Array<SharedArrayBuffer>
  readonly lateness: Int32Array<SharedArrayBuffer>
  /** A rehearsal ends after so many touches, and takes some of them for faults: those of this length. */
  readonly touchesMax?: number
  readonly hitNsMax?: number
}

export interface ToucherResult {
  /** Touches in the measured phase that stood still for a page. */
  readonly faults: number
  /** Touches that found their page there. */
  readonly hits: number
  readonly stallNs: number
  /** Walk: from the first touch to the end of the last. */
  readonly elapsedNs: number
  /** Sum of the words read, so that no touch can be optimised away. */
  readonly checksum: number
}

/** One for a thread's whole life: what a rehearsal has had compiled for it stays compiled for what is measured. */
export class Toucher {
  readonly #clock: Clock
  /**
   * Of no descriptor. From the timer to its fault a thread takes 24 µs out of Atomics.wait and 17 out of ppoll (medians of traces, 2 × Xeon),
   * and the longer it has just run, the longer it waits for a processor once its page is there, where others want one.
   */
  readonly #timer = new PollSet(0)
  readonly #draw = (): number => this.#nextRandom()
  #plan: ToucherPlan
  #missing: MissingPages | undefined
  /**
   * The memory of the first plan, viewed once: to the engine a view is as much new memory as it shows, and for gigabytes of that it
   * collects all garbage there is and compiled code with it, 32 threads of it in a quarter of a second each.
   */
  readonly #ownAddress: number
  readonly #ownWords: Int32Array<ArrayBuffer>
  #words = new Int32Array(0)
  #latency: LatencyHistogram
  #lateness: LatencyHistogram
  #random = 1
  #pageWords = 0
  #pageCount = 0
  #touchesMax = 0
  #hitNsMax = 0
  #usualHitNsMax = HIT_NS_MAX
  #faults = 0
  #hits = 0
  #stallNs = 0
  #checksum = 0

  constructor(plan: ToucherPlan, clock: Clock) {
    this.#clock = clock
    this.#plan = plan
    this.#latency = new LatencyHistogram(plan.latency)
    this.#lateness = new LatencyHistogram(plan.lateness)
    this.#ownAddress = toldAddress(plan.control)
    this.#ownWords = new Int32Array(viewOf(this.#ownAddress, plan.bytes))
  }

  /** May be called again, for another plan. */
  #take(plan: ToucherPlan): void {
    this.#plan = plan
    this.#latency = new LatencyHistogram(plan.latency)
    this.#lateness = new LatencyHistogram(plan.lateness)
    this.#random = plan.seed | 1
    this.#pageCount = (plan.bytes / plan.pageSize) | 0 // A quotient is no integer to the engine, and what it compiled for one goes.
    this.#pageWords = plan.pageSize >> 2
    this.#touchesMax = plan.touchesMax ?? TOUCHES_MAX
    this.#hitNsMax = plan.hitNsMax ?? this.#usualHitNsMax
    this.#faults = 0
    this.#hits = 0
    this.#stallNs = 0
    this.#checksum = 0
  }

  /** @param firstTouchNs see first-touch.ts */
  learn(firstTouchNs: number): void {
    this.#usualHitNsMax = stallLineNs(HIT_NS_MAX, firstTouchNs)
  }

  run(plan: ToucherPlan): ToucherResult {
    this.#take(plan)
    while (this.#phase() === PHASE.WAIT) this.#sleep(SLEEP_MS_MAX)
    const startNs = this.#clock.nowNs()
    if (this.#phase() !== PHASE.STOP) this.#look()
    if (this.#plan.mode === 'walk') this.#walk()
    else if (this.#plan.mode === 'closed') this.#closedLoop()
    else this.#openLoop()
    return {
      faults: this.#faults,
      hits: this.#hits,
      stallNs: this.#stallNs,
      elapsedNs: this.#clock.nowNs() - startNs,
      checksum: this.#checksum,
    }
  }

  #look(): void {
    const { control, bytes, pageSize } = this.#plan
    const address = toldAddress(control)
    this.#words = address === this.#ownAddress ? this.#ownWords : new Int32Array(viewOf(address, bytes))
    this.#missing = new MissingPages(address, pageSize, this.#pageCount)
  }

  #walk(): void {
    const pages = this.#plan.pages
    for (let i = 0; i < pages.length && !this.#isDone(); i++) {
      const phase = this.#phase()
      if (phase === PHASE.STOP) return
      const startNs = this.#clock.nowNs()
      this.#touch(pages[i] as number)
      this.#record(startNs, startNs, phase === PHASE.MEASURE)
    }
  }

  /**
   * Any page, as long as most touches are faults: to look first costs more than the fault itself. One that is there is a hit. After
   * some hits in a row a missing page is looked for.
   */
  #closedLoop(): void {
    let hitsInARow = 0
    for (let phase = this.#phase(); phase !== PHASE.STOP && !this.#isDone(); phase = this.#phase()) {
      let page = Math.floor(this.#nextRandom() * this.#pageCount)
      if (hitsInARow >= HITS_IN_A_ROW_MAX) page = this.#missing?.draw(this.#draw) ?? -1
      if (page < 0) {
        this.#sleep(1)
        continue
      }
      const startNs = this.#clock.nowNs()
      this.#touch(page)
      hitsInARow = this.#record(startNs, startNs, phase === PHASE.MEASURE) ? 0 : hitsInARow + 1
    }
  }

  #openLoop(): void {
    let intendedNs = this.#clock.nowNs()
    for (let phase = this.#phase(); phase !== PHASE.STOP && !this.#isDone(); phase = this.#phase()) {
      intendedNs -= this.#plan.meanGapNs * Math.log(1 - this.#draw())
      // The page is chosen before its time has come: choosing is no part of the touch.
      const page = this.#missing?.draw(this.#draw) ?? -1
      const wasFree = this.#clock.nowNs() < intendedNs
      if (!this.#sleepUntil(intendedNs)) return
      phase = this.#phase()
      const touchNs = this.#clock.nowNs()
      if (page < 0) continue
      this.#touch(page)
      this.#record(wasFree ? touchNs : intendedNs, touchNs, phase === PHASE.MEASURE)
      if (wasFree && phase === PHASE.MEASURE) this.#lateness.record(touchNs - intendedNs)
    }
  }

  #isDone(): boolean {
    return this.#faults + this.#hits >= this.#touchesMax
  }

  #touch(page: number): void {
    this.#checksum = (this.#checksum + (this.#words[page * this.#pageWords] as number)) | 0
  }

  /** @returns whether it was a fault */
  #record(startNs: number, touchNs: number, isMeasured: boolean): boolean {
    const endNs = this.#clock.nowNs()
    const isFault = endNs - touchNs >= this.#hitNsMax
    if (!isMeasured) return isFault
    if (!isFault) {
      this.#hits++
      return false
    }
    this.#faults++
    this.#stallNs += endNs - touchNs
    this.#latency.record(endNs - startNs)
    return true
  }

  /** xorshift32: 0 ≤ x < 1. */
  #nextRandom(): number {
    let x = this.#random
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#random = x | 0
    return (x >>> 0) / 0x1_0000_0000
  }

  #sleepUntil(timeNs: number): boolean {
    for (;;) {
      const leftNs = timeNs - this.#clock.nowNs()
      if (leftNs <= 0) return true
      if (this.#phase() === PHASE.STOP) return false
      this.#timer.wait(Math.min(leftNs / 1e6, NAP_MS_MAX))
    }
  }

  #sleep(ms: number): void {
    Atomics.wait(this.#plan.control, TOUCHER_WORDS.PHASE, this.#phase(), ms)
  }

  #phase(): number {
    return Atomics.load(this.#plan.control, TOUCHER_WORDS.PHASE)
  }
}
