/**
 * Faultlane's own window: fills the road to the source and keeps next to nothing queued on it, so that a demand
 * reply finds at most a page or two of bulk ahead of it on a slow link, and some tens of microseconds on any.
 *
 * As BBR does (Cardwell 2016) it measures two things, the best rate at which the road delivers and the shortest round
 * trip, and keeps their product in flight: what the road itself holds. Two reads more keep it from running dry; where the wire is the limit
 * and faults come one upon the other, one page more, for they use what gaps are left. Now
 * and then it lets the road run empty, to notice one that has become longer; so its own queue is never taken for
 * distance.
 *
 * A client that goes through its memory in prefault's own order is no other demand: it waits for the very pages that prefault
 * brings, and for the fewer of them the further prefault gets ahead. Its faults leave the window as it is without demand.
 *
 * A long read costs the processors least: a quantum, and on a fast road, while no demand is active, as much as it carries
 * in QUIET_READ_NS. While demand is active a read is only as long as the road carries in READ_NS.
 */
import { DeliveryRate, ShortestRoundTrip } from './road.ts'
import type { Window } from './window.ts'

/** Demand is active for this long after its last fault: one fault a millisecond keeps bulk small all the time. */
const ACTIVE_NS = 20e6
/** After a fault that came alone, with none in the ACTIVE_NS before it: a client's first touch, or a rare one. */
const ACTIVE_ALONE_NS = 5e6
/** Faults that come so soon one after the other are a client's that does little else: a light one loses little to prefault, and prefault much to rests. */
const DENSE_NS = 300_000
/** What one read may occupy the road for while demand is active; a page at least, and one at 1 Gbit/s. */
const READ_NS = 45_000
/** The same while no demand is active, but a quantum at least: what the first fault after a quiet time may find ahead of it. */
const QUIET_READ_NS = 500_000
/** So many faults in a row on pages that prefault is about: not one that came there by chance, among many elsewhere. */
const FOLLOWING_FAULTS = 2
/** Beyond what the road holds, of a client that follows: as much as the road carries in so long, for the prefault thread sleeps as long beside busy vCPUs. */
const FOLLOWED_NS = 1e6
const FOLLOWED_BYTES_MAX = 1 << 20
/** In flight beyond what the road holds: two reads, and where they are short so many pages, if the road is fast enough to carry them in as long. */
const READS_QUEUED = 2
const PAGES_QUEUED = 6
/**
 * Beside faults that come so soon one after the other, on a road whose wire is the limit: a page, for each is in front of one of them. As
 * long as prefault has this share of the road: with next to nothing in flight it comes too late for the gaps where there are many faults.
 */
const DENSE_PAGES_QUEUED = 1
const DENSE_SHARE_MIN = 0.4
/**
 * Where more threads stand still the wire is full without prefault, and shared as what is in flight is: with so many pages for each of theirs, a quantum
 * at most, and what the road holds, it has 30 %. Not while a neighbour faults: the crowd may be one client's, and who waits another.
 */
const DENSE_PENDING_MAX = 4
const CROWD_PAGES_QUEUED = 0.35
/** Faults are taken for dense for so long after the last such pair. */
const DENSE_FOR_NS = 2 * DENSE_NS
/** Never more in flight: 16 MiB are 13 Gbit/s at 10 ms. */
const WINDOW_BYTES_MAX = 16 << 20

export class AdaptiveWindow implements Window {
  readonly #pageBytes: number
  readonly #pagesMax: number
  readonly #quietPagesMax: number
  readonly #mayFollow: boolean
  /** What the channel takes, as far as the lane has said. */
  #channelPagesMax = Infinity
  readonly #rate = new DeliveryRate()
  readonly #shortest = new ShortestRoundTrip()
  /** In flight in the startup. */
  #startupBytes: number
  #demandAtNs = Number.NEGATIVE_INFINITY
  #denseUntilNs = Number.NEGATIVE_INFINITY
  #neighbourUntilNs = Number.NEGATIVE_INFINITY
  #activeUntilNs = Number.NEGATIVE_INFINITY
  /** The last faults in a row that were near what prefault is about. */
  #nearFaults = 0
  /** As of the last fault. */
  #isFollowed = false
  /** A fault has come soon after another, and not near what prefault is about. */
  #isRestDue = false
  /** In flight beyond what the road holds, at the last look. */
  #queuedBytes = 0

  /**
   * @param pagesMax of one read: a quantum
   * @param quietPagesMax of one read while no demand is active and the road is fast
   * @param mayFollow false: whoever faults in prefault's own order is demand as any other (level `following`)
   */
  constructor(pageBytes: number, pagesMax: number, quietPagesMax = pagesMax, mayFollow = true) {
    this.#mayFollow = mayFollow
    this.#pageBytes = pageBytes
    this.#pagesMax = pagesMax
    this.#quietPagesMax = quietPagesMax
    this.#startupBytes = READS_QUEUED * pageBytes
  }

  onDemand(nowNs: number, isNear: boolean, isOfNeighbour = false): void {
    if (isOfNeighbour) this.#neighbourUntilNs = nowNs + ACTIVE_NS
    this.#nearFaults = isNear ? this.#nearFaults + 1 : 0
    // On a slow road a client that follows waits for the wire, and more in flight would only be ahead of somebody else.
    this.#isFollowed = this.#mayFollow && this.#nearFaults >= FOLLOWING_FAULTS && this.#rate.isFast
    if (this.#isFollowed) return
    const sinceNs = nowNs - this.#demandAtNs
    if (sinceNs < DENSE_NS && this.#nearFaults < FOLLOWING_FAULTS) {
      // On a slow road prefault sleeps as long as the wire takes, and rests on top of that would leave it empty.
      if (this.#rate.hasBeenFast) this.#isRestDue = true
      else if (this.#rate.isSlow) this.#denseUntilNs = nowNs + DENSE_FOR_NS
    }
    const isAlone = sinceNs >= ACTIVE_NS
    this.#demandAtNs = nowNs
    this.#stayActive(nowNs + (isAlone ? ACTIVE_ALONE_NS : ACTIVE_NS))
  }

  #stayActive(untilNs: number): void {
    this.#activeUntilNs = Math.max(this.#activeUntilNs, untilNs)
  }

  onDemandAnswered(ns: number): void {
    this.#rate.onDemandAnswered(ns)
  }

  takeRest(): boolean {
    const isDue = this.#isRestDue
    this.#isRestDue = false
    return isDue
  }

  readPages(pagesMax: number, nowNs: number): number {
    this.#channelPagesMax = pagesMax
    return this.#pages(nowNs)
  }

  bytes(demandPending: number, nowNs: number): number {
    if (demandPending > 0 && !this.#isFollowed) this.#stayActive(nowNs + ACTIVE_ALONE_NS)
    const readBytes = this.#pages(nowNs) * this.#pageBytes
    if (this.#shortest.isDraining(nowNs)) return readBytes
    const rate = this.#rate
    if (rate.isInStartup) return Math.max(READS_QUEUED * readBytes, this.#startupBytes)
    const held = rate.bytesPerNs * this.#shortest.ns
    const inTime = READS_QUEUED * READ_NS * rate.bytesPerNs
    this.#queuedBytes = Math.max(READS_QUEUED * readBytes, Math.min(PAGES_QUEUED * this.#pageBytes, inTime))
    if (this.#isFollowed && nowNs >= this.#activeUntilNs) {
      this.#queuedBytes = Math.max(
        this.#queuedBytes,
        Math.min(FOLLOWED_BYTES_MAX, FOLLOWED_NS * rate.bytesPerNs),
      )
    }
    if (nowNs < this.#denseUntilNs) this.#queueBesideDense(demandPending, nowNs)
    return Math.min(WINDOW_BYTES_MAX, held + this.#queuedBytes)
  }

  #queueBesideDense(demandPending: number, nowNs: number): void {
    const rate = this.#rate
    if (demandPending > DENSE_PENDING_MAX) {
      if (nowNs < this.#neighbourUntilNs) return
      const ofCrowd = Math.min(this.#pagesMax, CROWD_PAGES_QUEUED * demandPending) * this.#pageBytes
      this.#queuedBytes = Math.max(this.#queuedBytes, ofCrowd)
    } else if (rate.usedBytesPerNs >= DENSE_SHARE_MIN * rate.bytesPerNs) {
      this.#queuedBytes = Math.min(this.#queuedBytes, DENSE_PAGES_QUEUED * this.#pageBytes)
    }
  }

  onCompletion(bytes: number, rttNs: number, nowNs: number): void {
    this.#shortest.onCompletion(rttNs, nowNs)
    const rate = this.#rate
    const queueNs = rate.bytesPerNs > 0 ? this.#queuedBytes / rate.bytesPerNs : 0
    const isMeasured = rate.onCompletion(bytes, rttNs, this.#shortest.ns, queueNs, nowNs)
    if (!isMeasured || !rate.isInStartup) return
    if (rate.isGrowing) this.#startupBytes = Math.min(WINDOW_BYTES_MAX, 2 * this.#startupBytes)
    // Twice what the road holds: so a road that was underrated can still show that it carries more.
    if (rate.isOverfilled)
      this.#startupBytes = Math.min(this.#startupBytes, 2 * rate.bytesPerNs * this.#shortest.ns)
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
    if (rate.isInStartup) return Math.min(pagesMax, this.#startupBytes / READS_QUEUED / this.#pageBytes)
    return Math.max(1, Math.min(pagesMax, this.#pagesIn(READ_NS)))
  }

  /** What the road carries in so long. */
  #pagesIn(ns: number): number {
    return Math.floor((ns * this.#rate.bytesPerNs) / this.#pageBytes)
  }
}
