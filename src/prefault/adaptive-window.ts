/**
 * Faultlane's own window: fills the road to the source and keeps next to nothing queued on it, so that a demand
 * reply finds at most a page or two of bulk ahead of it on a slow link, and some tens of microseconds on any.
 *
 * As BBR does (Cardwell 2016) it measures two things, the best rate at which the road delivers and the shortest round
 * trip, and keeps their product in flight: what the road itself holds. Two reads more keep it from running dry. Now
 * and then it lets the road run empty, to notice one that has become longer; so its own queue is never taken for
 * distance.
 *
 * What the road has delivered lately is no measure of what it can: where threads wait for processors less comes back
 * a round, and a window cut to that would bring less still. So the best rate is kept, and given up only where even
 * the quickest reply of a measurement has stood in a queue longer than the window's own (CoDel's sign of a queue that
 * stands, Nichols 2012), or slowly. Too high a rate keeps one round trip too much in flight at the most.
 *
 * To learn the rate of a road it doubles what it has in flight, from two pages on (slow start), until that brings no more, and a
 * queue instead (Ha and Rhee 2011, HyStart's delay increase): beside active demand in short reads, for long ones would hide it.
 *
 * A long read costs the processors least: a quantum, and on a fast road, while no demand is active, as much as it carries
 * in QUIET_READ_NS. While demand is active a read is only as long as the road carries in READ_NS.
 */
import type { Window } from './window.ts'

/** Demand is active for this long after its last fault: one fault a millisecond keeps bulk small all the time. */
const ACTIVE_NS = 20e6
/** After a fault that came alone, with none in the ACTIVE_NS before it: a client's first touch, or a rare one. */
const ACTIVE_ALONE_NS = 5e6
/** What one read may occupy the road for while demand is active; a page at least, two at 1 Gbit/s. */
const READ_NS = 70_000
/** The same while no demand is active, but a quantum at least: what the first fault after a quiet time may find ahead of it. */
const QUIET_READ_NS = 500_000
/** In flight beyond what the road holds: two reads, and where they are short so many pages, if the road is fast enough to carry them in as long. */
const READS_QUEUED = 2
const PAGES_QUEUED = 6
/** Never more in flight: 16 MiB are 13 Gbit/s at 10 ms. */
const WINDOW_BYTES_MAX = 16 << 20
/**
 * The rate is what came in over so long or two round trips. Long against the burst of a token bucket, which lets
 * 64 KiB through at once. Shorter while it is learned, to see soon when the road is full.
 */
const RATE_NS = 10e6
const LEARNING_NS = 5e5
/** The road is full when so many measurements in a row have brought less than a quarter more. */
const FLAT_ROUNDS = 3
const FLAT_ROUNDS_LONG = 2
const GROWING = 1.25
/**
 * Short reads may be what keeps the rate low, where the processors and not the wire are the limit. So one
 * measurement in so many is made with long ones, one in 2 s, and is a short one.
 */
const LONG_READS_EVERY = 200
const LONG_READS_NS = 2e6
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

/** How the rate of a road is learned: with what reads, and how much in flight. */
const LEARNING = {
  /** The window doubles with every measurement; beside active demand reads are short. */
  SHORT: 0,
  /** Reads are long, and the window doubles as long as they bring more: so it is where processors and not the wire are the limit. */
  LONG: 1,
  DONE: 2,
} as const

/** The best rate at which the road delivers, as far as it was seen. */
class DeliveryRate {
  /** 0 before the first measurement. */
  bytesPerNs = 0
  learning: (typeof LEARNING)[keyof typeof LEARNING] = LEARNING.SHORT
  /** While it is being learned: the last measurement asks for twice as much in flight. */
  isGrowing = false
  /** Since it is known. */
  #rounds = 0
  #flatRounds = 0
  #sinceNs = 0
  #lastNs = 0
  #bytes = 0
  /** The quickest reply to a read that was posted during this measurement. */
  #quickestNs = Infinity

  get isLearning(): boolean {
    return this.learning !== LEARNING.DONE
  }

  /** Reads are long, while demand is active too. */
  get isWithLongReads(): boolean {
    return this.learning === LEARNING.LONG || (!this.isLearning && this.#rounds % LONG_READS_EVERY === 0)
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
    if (elapsedNs < roundNs || (this.isLearning && this.#quickestNs === Infinity)) return false
    const rate = this.#bytes / elapsedNs
    if (this.isLearning) {
      // In flight is a quarter more than the road holds, and the read's own time.
      this.#learn(rate, this.#quickestNs > (5 / 4) * shortestNs + bytes / rate + JITTER_NS)
    } else {
      this.#rounds++
      const hasQueue = this.#quickestNs > shortestNs + QUEUES * queueNs + JITTER_NS
      this.bytesPerNs = Math.max(rate, this.bytesPerNs * (hasQueue ? KEPT_IN_QUEUE : KEPT))
    }
    this.#sinceNs = nowNs
    this.#bytes = 0
    this.#quickestNs = Infinity
    return true
  }

  #roundNs(shortestNs: number): number {
    if (this.learning === LEARNING.SHORT) return Math.max(LEARNING_NS, shortestNs)
    return Math.max(this.isWithLongReads ? LONG_READS_NS : RATE_NS, 2 * shortestNs)
  }

  #learn(rate: number, hasQueue: boolean): void {
    const isFlat = rate <= this.bytesPerNs * GROWING
    this.#flatRounds = isFlat ? this.#flatRounds + 1 : 0
    this.bytesPerNs = Math.max(rate, this.bytesPerNs)
    if (this.learning === LEARNING.LONG) {
      this.isGrowing = !isFlat
      if (this.#flatRounds === FLAT_ROUNDS_LONG) this.learning = LEARNING.DONE
      return
    }
    this.isGrowing = true
    if (!(isFlat && hasQueue) && this.#flatRounds < FLAT_ROUNDS) return
    // More in flight brought a queue and nothing else. What bursts have made of the measurements before is forgotten.
    this.bytesPerNs = rate
    this.learning = LEARNING.LONG
    this.isGrowing = false
    this.#flatRounds = 0
  }
}

/** The shortest round trip of the road, for the shortest reads that were made on it. */
class ShortestRoundTrip {
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

export class AdaptiveWindow implements Window {
  readonly #pageBytes: number
  readonly #pagesMax: number
  readonly #quietPagesMax: number
  /** What the channel takes, as far as the lane has said. */
  #channelPagesMax = Infinity
  readonly #rate = new DeliveryRate()
  readonly #shortest = new ShortestRoundTrip()
  /** While the road is being filled; it doubles with every measurement. */
  #learningBytes: number
  #demandAtNs = Number.NEGATIVE_INFINITY
  #activeUntilNs = Number.NEGATIVE_INFINITY
  /** In flight beyond what the road holds, at the last look. */
  #queuedBytes = 0

  /**
   * @param pagesMax of one read: a quantum
   * @param quietPagesMax of one read while no demand is active and the road is fast
   */
  constructor(pageBytes: number, pagesMax: number, quietPagesMax = pagesMax) {
    this.#pageBytes = pageBytes
    this.#pagesMax = pagesMax
    this.#quietPagesMax = quietPagesMax
    this.#learningBytes = READS_QUEUED * pageBytes
  }

  onDemand(nowNs: number): void {
    const isAlone = nowNs - this.#demandAtNs >= ACTIVE_NS
    this.#demandAtNs = nowNs
    this.#stayActive(nowNs + (isAlone ? ACTIVE_ALONE_NS : ACTIVE_NS))
  }

  #stayActive(untilNs: number): void {
    this.#activeUntilNs = Math.max(this.#activeUntilNs, untilNs)
  }

  readPages(pagesMax: number, nowNs: number): number {
    this.#channelPagesMax = pagesMax
    return this.#pages(nowNs)
  }

  bytes(demandPending: number, nowNs: number): number {
    if (demandPending > 0) this.#stayActive(nowNs + ACTIVE_ALONE_NS)
    const readBytes = this.#pages(nowNs) * this.#pageBytes
    if (this.#shortest.isDraining(nowNs)) return readBytes
    const rate = this.#rate
    if (rate.isLearning) return Math.max(READS_QUEUED * readBytes, this.#learningBytes)
    const held = rate.bytesPerNs * this.#shortest.ns
    const inTime = READS_QUEUED * READ_NS * rate.bytesPerNs
    this.#queuedBytes = Math.max(READS_QUEUED * readBytes, Math.min(PAGES_QUEUED * this.#pageBytes, inTime))
    return Math.min(WINDOW_BYTES_MAX, held + this.#queuedBytes)
  }

  onCompletion(bytes: number, rttNs: number, nowNs: number): void {
    this.#shortest.onCompletion(rttNs, nowNs)
    const rate = this.#rate
    const queueNs = rate.bytesPerNs > 0 ? this.#queuedBytes / rate.bytesPerNs : 0
    const isMeasured = rate.onCompletion(bytes, rttNs, this.#shortest.ns, queueNs, nowNs)
    if (isMeasured && rate.isGrowing)
      this.#learningBytes = Math.min(WINDOW_BYTES_MAX, 2 * this.#learningBytes)
  }

  #pages(nowNs: number): number {
    if (this.#shortest.ns === 0) return 1 // The first read of a session measures the road.
    const rate = this.#rate
    const pagesMax = Math.min(this.#pagesMax, this.#channelPagesMax)
    if (nowNs >= this.#activeUntilNs) {
      const quietPagesMax = Math.min(this.#quietPagesMax, this.#channelPagesMax)
      return Math.max(pagesMax, Math.min(quietPagesMax, this.#pagesIn(QUIET_READ_NS)))
    }
    if (rate.isWithLongReads) return pagesMax
    if (rate.isLearning) return Math.min(pagesMax, this.#learningBytes / READS_QUEUED / this.#pageBytes)
    return Math.max(1, Math.min(pagesMax, this.#pagesIn(READ_NS)))
  }

  /** What the road carries in so long. */
  #pagesIn(ns: number): number {
    return Math.floor((ns * this.#rate.bytesPerNs) / this.#pageBytes)
  }
}
