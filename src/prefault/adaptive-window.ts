/**
 * Faultlane's own window: fills the road to the source and keeps next to nothing queued on it, so that a demand
 * reply finds at most a page or two of bulk ahead of it on a slow link, and some tens of microseconds on any.
 *
 * As BBR does (Cardwell 2016) it measures two things, the rate at which the road delivers and the shortest round
 * trip, and keeps their product in flight: what the road itself holds. Two reads more keep it from running dry. Now
 * and then it asks for a quarter more, to notice a road that has become faster, and lets the road run empty, to
 * notice one that has become longer; so its own queue is never taken for distance.
 *
 * A long read (a quantum) costs the processors least; while demand is active a read is only as long as the road
 * carries in READ_NS.
 */
import type { Window } from './window.ts'

/** Demand is active for this long after its last fault: one fault a millisecond keeps bulk small all the time. */
const ACTIVE_NS = 20e6
/** What one read may occupy the road for while demand is active; a page at least, two or three at 1 Gbit/s. */
const READ_NS = 100_000
/** In flight beyond what the road holds: two reads, and where they are short so many pages, if the road is fast enough to carry them in as long. */
const READS_QUEUED = 2
const PAGES_QUEUED = 6
/** Never more in flight: 16 MiB are 13 Gbit/s at 10 ms. */
const WINDOW_BYTES_MAX = 16 << 20
/**
 * The rate is what came in over so long or two round trips, the best of the last RATES. Long against the burst of a
 * token bucket, which lets 64 KiB through at once. Shorter while the road is being filled for the first time.
 */
const RATE_NS = 10e6
const STARTING_RATE_NS = 2e6
const RATES = 8
/** The road is full when so many measurements in a row have brought less than a quarter more. */
const FLAT_ROUNDS = 3
/** In one of so many measurements there is a quarter more in flight than the road is known to hold. */
const PROBE_EVERY = 8
const PROBE_GAIN = 1.25
/**
 * Short reads may be what keeps the rate low, where the processors and not the wire are the limit. So the road is
 * first measured with long ones, the rate seen then is forgotten slowly (half in 3.5 s), and one measurement in so
 * many is made with long ones again: half of a percent of the time.
 */
const LONG_READS_EVERY = 200
const PEAK_KEPT = 1 - 1 / 500
/** A shortest round trip is believed for so long; then the road is left to empty itself once, and measured anew. */
const SHORTEST_NS = 5e9
/** Round trips of one such measurement: one for what is in flight, the others on an empty road. */
const DRAIN_ROUND_TRIPS = 4

/** Bytes per nanosecond that the road has lately delivered. */
class DeliveryRate {
  /** 0 before the first measurement. */
  bytesPerNs = 0
  /** The best of the last seconds, whatever the reads have been. */
  peakBytesPerNs = 0
  /** The road is being filled for the first time. */
  isStarting = true
  /** Measurements so far. */
  rounds = 0
  readonly #latest = new Float64Array(RATES)
  #flatRounds = 0
  #sinceNs = 0
  #lastNs = 0
  #bytes = 0

  onCompletion(bytes: number, rttNs: number, shortestNs: number, nowNs: number): void {
    const roundNs = this.isStarting
      ? Math.max(STARTING_RATE_NS, shortestNs)
      : Math.max(RATE_NS, 2 * shortestNs)
    const postedNs = nowNs - rttNs
    if (postedNs - this.#lastNs > roundNs) {
      // The road lay empty until this read was posted, which is no time of the road's.
      this.#sinceNs = postedNs
      this.#bytes = 0
    }
    this.#lastNs = nowNs
    this.#bytes += bytes
    const elapsedNs = nowNs - this.#sinceNs
    if (elapsedNs < roundNs) return
    this.#measured(this.#bytes / elapsedNs)
    this.#sinceNs = nowNs
    this.#bytes = 0
  }

  #measured(rate: number): void {
    if (this.isStarting) {
      this.#flatRounds = rate > this.bytesPerNs * PROBE_GAIN ? 0 : this.#flatRounds + 1
      if (this.#flatRounds === FLAT_ROUNDS) this.isStarting = false
    }
    this.#latest[this.rounds++ % RATES] = rate
    this.bytesPerNs = Math.max(...this.#latest)
    this.peakBytesPerNs = Math.max(this.bytesPerNs, this.peakBytesPerNs * PEAK_KEPT)
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
  readonly #rate = new DeliveryRate()
  readonly #shortest = new ShortestRoundTrip()
  /** While the road is being filled; it doubles a round trip. */
  #startingBytes: number
  #doubledAtNs = 0
  #demandAtNs = Number.NEGATIVE_INFINITY

  /** @param pagesMax of one read: a quantum */
  constructor(pageBytes: number, pagesMax: number) {
    this.#pageBytes = pageBytes
    this.#pagesMax = pagesMax
    this.#startingBytes = READS_QUEUED * pageBytes
  }

  onDemand(nowNs: number): void {
    this.#demandAtNs = nowNs
  }

  readPages(pagesMax: number, nowNs: number): number {
    return Math.min(pagesMax, this.#pages(nowNs))
  }

  bytes(demandPending: number, nowNs: number): number {
    if (demandPending > 0) this.#demandAtNs = nowNs
    const readBytes = this.#pages(nowNs) * this.#pageBytes
    if (this.#shortest.isDraining(nowNs)) return readBytes
    const rate = this.#rate
    if (rate.isStarting) return Math.max(READS_QUEUED * readBytes, this.#startingBytes)
    const gain = rate.rounds % PROBE_EVERY === 0 ? PROBE_GAIN : 1
    const held = gain * rate.bytesPerNs * this.#shortest.ns
    const inTime = READS_QUEUED * READ_NS * rate.bytesPerNs
    const queued = Math.max(READS_QUEUED * readBytes, Math.min(PAGES_QUEUED * this.#pageBytes, inTime))
    return Math.min(WINDOW_BYTES_MAX, held + queued)
  }

  onCompletion(bytes: number, rttNs: number, nowNs: number): void {
    this.#shortest.onCompletion(rttNs, nowNs)
    this.#rate.onCompletion(bytes, rttNs, this.#shortest.ns, nowNs)
    if (!this.#rate.isStarting || nowNs - this.#doubledAtNs < Math.max(rttNs, STARTING_RATE_NS)) return
    this.#doubledAtNs = nowNs
    this.#startingBytes = Math.min(WINDOW_BYTES_MAX, 2 * this.#startingBytes)
  }

  #pages(nowNs: number): number {
    if (this.#shortest.ns === 0) return 1 // The first read of a session measures the road.
    const rate = this.#rate
    const isQuiet = nowNs - this.#demandAtNs >= ACTIVE_NS
    if (isQuiet || rate.isStarting || rate.rounds % LONG_READS_EVERY === 0) return this.#pagesMax
    const pages = Math.floor((READ_NS * rate.peakBytesPerNs) / this.#pageBytes)
    return Math.max(1, Math.min(this.#pagesMax, pages))
  }
}
