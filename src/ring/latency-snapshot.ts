/** What a latency histogram held at one moment: plain numbers of one owner, to be merged, asked and reported. */
import { BUCKET_COUNT, bucketMiddleNs } from './latency-buckets.ts'

export class LatencySnapshot {
  readonly count: number
  readonly maxNs: number
  readonly sumNs: number
  readonly #counts: Float64Array

  constructor(counts: Float64Array, sumNs: number, maxNs: number) {
    this.#counts = counts
    this.sumNs = sumNs
    this.maxNs = maxNs
    this.count = counts.reduce((sum, count) => sum + count, 0)
  }

  static empty(): LatencySnapshot {
    return new LatencySnapshot(new Float64Array(BUCKET_COUNT), 0, 0)
  }

  /** The smallest duration that at least `percentile` % of all do not exceed, 0 to 100; 0 when there is none. */
  percentileNs(percentile: number): number {
    const rank = Math.max(1, Math.ceil((percentile / 100) * this.count))
    if (rank >= this.count) return this.maxNs
    let seen = 0
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      seen += this.#counts[bucket]!
      if (seen >= rank) return Math.min(bucketMiddleNs(bucket), this.maxNs)
    }
    return this.maxNs
  }

  meanNs(): number {
    return this.count === 0 ? 0 : this.sumNs / this.count
  }

  /** Both together, as if one had recorded all. */
  merge(other: LatencySnapshot): LatencySnapshot {
    const counts = this.#counts.map((count, bucket) => count + other.#counts[bucket]!)
    return new LatencySnapshot(counts, this.sumNs + other.sumNs, Math.max(this.maxNs, other.maxNs))
  }

  /**
   * What came after `earlier`, a snapshot of the same histogram. The maximum is exact where it is that of all time, else
   * the middle of its bucket.
   */
  since(earlier: LatencySnapshot): LatencySnapshot {
    const counts = this.#counts.map((count, bucket) => count - earlier.#counts[bucket]!)
    const highest = counts.findLastIndex((count) => count > 0)
    const ofBucketNs = highest < 0 ? 0 : Math.min(bucketMiddleNs(highest), this.maxNs)
    const maxNs = this.maxNs > earlier.maxNs ? this.maxNs : ofBucketNs
    return new LatencySnapshot(counts, this.sumNs - earlier.sumNs, maxNs)
  }

  /** The buckets that are not empty, for a picture or another histogram format. */
  *buckets(): Generator<{ middleNs: number; count: number }> {
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      const count = this.#counts[bucket]!
      if (count > 0) yield { middleNs: bucketMiddleNs(bucket), count }
    }
  }
}
