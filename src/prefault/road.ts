/**
 * What a road is like, measured on it: the best rate at which it delivers, and the shortest round trip. Pure: time is handed in.
 *
 * What the road has delivered lately is no measure of what it can: where threads wait for processors less comes back
 * a round, and a window cut to that would bring less still. So the best rate is kept, and given up only where even
 * the quickest reply of a measurement has stood in a queue longer than the window's own (CoDel's sign of a queue that
 * stands, Nichols 2012), or slowly. Demand's replies tell better than bulk's, which wait for processors too: as long as one fault in
 * a measurement is served without delay, no queue of ours stands in its way. Too high a rate keeps one round trip too much in flight at the most.
 *
 * In the startup a window doubles what it has in flight, from two pages on (slow start), until that brings no more, and a
 * queue instead (Ha and Rhee 2011, HyStart's delay increase): beside active demand in short reads, for long ones would hide it.
 */
import { BULK_QUANTUM_BYTES } from '../config.ts'

/**
 * The rate is what came in over so long or two round trips. Long against the burst of a token bucket, which lets
 * 64 KiB through at once. Shorter in the startup, to see soon when the road is full.
 */
const RATE_NS = 10e6
const STARTUP_NS = 5e5
/** The road is full when so many measurements in a row have brought less than a quarter more. */
const FLAT_ROUNDS = 3
const FLAT_ROUNDS_LONG = 2
const GROWING = 1.25
/**
 * Short reads may be what keeps the rate low, where the processors and not the wire are the limit. So one
 * measurement in so many is made with long ones, one in 2 s, and is a short one. If demand passes them undelayed they stay,
 * until it does not: few long reads cost the processors less than many short ones.
 */
const LONG_READS_EVERY = 200
const LONG_READS_NS = 2e6
/** One such measurement more, soon after the startup. */
const LONG_READS_EARLY = 8
/**
 * Long reads stay on no road that takes longer than 150 µs for a quantum, and are tried early on none that takes a millisecond: there the wire is
 * the limit. 1 Gbit/s is far from it, also where bursts have a token bucket deliver 135 MB/s for a while.
 */
const STAY_BYTES_PER_NS_MIN = BULK_QUANTUM_BYTES / 150e3
const EARLY_BYTES_PER_NS_MIN = BULK_QUANTUM_BYTES / 1e6
/** Certainly limited by its wire: 1 Gbit/s is, with its bursts, and a fast road that processors hold back at first mostly is not. */
const SLOW_BYTES_PER_NS_MAX = BULK_QUANTUM_BYTES / 230e3
/** What is kept of the best rate with every measurement: half of it is gone in 20 s; where a queue stands, in 70 ms. */
const KEPT = 1 - 1 / 2900
const KEPT_IN_QUEUE = 0.9
/** A queue stands when the quickest reply was later than this many times what the window itself queues, and jitter. */
const QUEUES = 2
const JITTER_NS = 50_000
/** A shortest round trip is believed for so long; then the road is left to empty itself once, and measured anew. */
const SHORTEST_NS = 5e9
/** Round trips of one such measurement: one for what is in flight, the others on an empty road. */
const DRAIN_ROUND_TRIPS = 4

/** How the rate of a road is found at first: with what reads, and how much in flight. */
const STARTUP = {
  /** The window doubles with every measurement; beside active demand reads are short. */
  SHORT: 0,
  /** Reads are long, and the window doubles as long as they bring more: so it is where processors and not the wire are the limit. */
  LONG: 1,
  DONE: 2,
} as const

/** The best rate at which the road delivers, as far as it was seen. */
export class DeliveryRate {
  /** 0 before the first measurement. */
  bytesPerNs = 0
  /** What came of it in the last measurement, beside others' traffic or less asked for. */
  usedBytesPerNs = 0
  startup: (typeof STARTUP)[keyof typeof STARTUP] = STARTUP.SHORT
  /** In the startup: the last measurement asks for twice as much in flight. */
  isGrowing = false
  /** In the startup: what is in flight stands in a queue, at the rate that was measured last. */
  isOverfilled = false
  /**
   * The road has carried a quantum in 150 µs, whatever it does now: on it processors may be the limit, and not the wire. A token bucket's burst is no
   * such thing, which passes for one in the startup's short measurements.
   */
  hasBeenFast = false
  /** Measurements since the startup. */
  #rounds = 0
  /** Demand has passed long reads undelayed, and does. */
  #mayStayLong = false
  #flatRounds = 0
  #sinceNs = 0
  #lastNs = 0
  #bytes = 0
  /** The quickest reply to a read that was posted during this measurement. */
  #quickestNs = Infinity
  /** The quickest answer to a demand fault in this measurement. */
  #demandQuickestNs = Infinity

  get isInStartup(): boolean {
    return this.startup !== STARTUP.DONE
  }

  /** The wire is hardly what limits it: a quantum takes it no longer than 150 µs. */
  get isFast(): boolean {
    return !this.isInStartup && this.bytesPerNs > STAY_BYTES_PER_NS_MIN
  }

  /** The wire is what limits it: a quantum takes it 230 µs and more. */
  get isSlow(): boolean {
    return !this.isInStartup && !this.hasBeenFast && this.bytesPerNs < SLOW_BYTES_PER_NS_MAX
  }

  /** Reads are long, while demand is active too. */
  get isWithLongReads(): boolean {
    if (this.isInStartup) return this.startup === STARTUP.LONG
    return this.#mayStayLong || this.#isTryingLongReads
  }

  /** A demand fault has been answered after `ns`. */
  onDemandAnswered(ns: number): void {
    this.#demandQuickestNs = Math.min(this.#demandQuickestNs, ns)
  }

  /**
   * @param queueNs how long the window's own queue takes the road
   * @returns whether a measurement has ended with it
   */
  onCompletion(bytes: number, rttNs: number, shortestNs: number, queueNs: number, nowNs: number): boolean {
    const roundNs = this.#roundNs(shortestNs)
    const postedNs = nowNs - rttNs
    if (postedNs - this.#lastNs > roundNs) {
      // The road lay empty until this read was posted, which is no time of the road's.
      this.#sinceNs = postedNs
      this.#bytes = 0
      this.#quickestNs = Infinity
    }
    this.#lastNs = nowNs
    this.#bytes += bytes
    if (postedNs >= this.#sinceNs) this.#quickestNs = Math.min(this.#quickestNs, rttNs)
    const elapsedNs = nowNs - this.#sinceNs
    if (elapsedNs < roundNs || (this.isInStartup && this.#quickestNs === Infinity)) return false
    const rate = this.#bytes / elapsedNs
    this.usedBytesPerNs = rate
    if (this.isInStartup) {
      // In flight is a quarter more than the road holds, and the read's own time.
      this.#startUp(rate, this.#quickestNs > (5 / 4) * shortestNs + bytes / rate + JITTER_NS)
    } else {
      if (rate > STAY_BYTES_PER_NS_MIN) this.hasBeenFast = true
      const demandQuickestNs = this.#demandQuickestNs
      const hasDemand = demandQuickestNs < Infinity
      if (this.#isTryingLongReads) this.#mayStayLong = hasDemand && rate > STAY_BYTES_PER_NS_MIN
      if (hasDemand && demandQuickestNs > shortestNs + JITTER_NS) this.#mayStayLong = false
      this.#rounds++
      const quickestNs = hasDemand ? demandQuickestNs : this.#quickestNs
      const hasQueue = quickestNs > shortestNs + QUEUES * queueNs + JITTER_NS
      this.bytesPerNs = Math.max(rate, this.bytesPerNs * (hasQueue ? KEPT_IN_QUEUE : KEPT))
    }
    this.#sinceNs = nowNs
    this.#bytes = 0
    this.#quickestNs = Infinity
    this.#demandQuickestNs = Infinity
    return true
  }

  get #isTryingLongReads(): boolean {
    if (this.#rounds === LONG_READS_EARLY) return this.bytesPerNs > EARLY_BYTES_PER_NS_MIN
    return this.#rounds % LONG_READS_EVERY === 0
  }

  #roundNs(shortestNs: number): number {
    if (this.startup === STARTUP.SHORT) return Math.max(STARTUP_NS, shortestNs)
    const isShort = this.isInStartup || this.#isTryingLongReads
    return Math.max(isShort ? LONG_READS_NS : RATE_NS, 2 * shortestNs)
  }

  #startUp(rate: number, hasQueue: boolean): void {
    const isFlat = rate <= this.bytesPerNs * GROWING
    this.isOverfilled = isFlat && hasQueue
    this.#flatRounds = isFlat ? this.#flatRounds + 1 : 0
    this.bytesPerNs = Math.max(rate, this.bytesPerNs)
    if (this.startup === STARTUP.LONG) {
      this.isGrowing = !isFlat
      if (this.#flatRounds === FLAT_ROUNDS_LONG) this.startup = STARTUP.DONE
      return
    }
    this.isGrowing = true
    if (!this.isOverfilled && this.#flatRounds < FLAT_ROUNDS) return
    // More in flight brought a queue and nothing else. What bursts have made of the measurements before is forgotten.
    this.bytesPerNs = rate
    this.startup = STARTUP.LONG
    this.isGrowing = false
    this.#flatRounds = 0
  }
}

/** The shortest round trip of the road, for the shortest reads that were made on it. */
export class ShortestRoundTrip {
  /** 0 before the first reply. */
  ns = 0
  #atNs = 0
  #drainEndNs = 0
  #drainedNs = Infinity

  /** The road is being left to run empty. */
  isDraining(nowNs: number): boolean {
    return nowNs < this.#drainEndNs
  }

  onCompletion(rttNs: number, nowNs: number): void {
    if (this.ns === 0 || rttNs < this.ns) {
      this.ns = rttNs
      this.#atNs = nowNs
    }
    if (this.#drainEndNs > 0) {
      this.#drainedNs = Math.min(this.#drainedNs, rttNs)
      if (nowNs < this.#drainEndNs) return
      this.ns = this.#drainedNs
      this.#atNs = nowNs
      this.#drainEndNs = 0
    } else if (nowNs - this.#atNs > SHORTEST_NS) {
      this.#drainEndNs = nowNs + DRAIN_ROUND_TRIPS * rttNs
      this.#drainedNs = Infinity
    }
  }
}
