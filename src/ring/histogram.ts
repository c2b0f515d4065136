/**
 * Durations in shared memory: one thread records, any thread reads. A reported value is at most 0.8 % off.
 *
 * Recording is two atomic stores and no allocation. A reader may see a bucket before the sum that goes with
 * it: the count of a reading is the sum of its buckets, so percentiles are always consistent.
 */
import { BUCKET_COUNT, bucketOf, RECORD_NS_MAX } from './latency-buckets.ts'
import { LatencySnapshot } from './latency-snapshot.ts'
import { wholeLines } from './layout.ts'
import { WideWords, wideWords } from './wide-words.ts'

const SUM = BUCKET_COUNT
const MAX = BUCKET_COUNT + 1

/** Words that a histogram takes in shared memory (24 KiB). */
export const HISTOGRAM_WORDS = wholeLines(wideWords(BUCKET_COUNT + 2))

export class LatencyHistogram {
  readonly #values: WideWords
  #maxNs: number // Ours if we are the recorder; a reader reads the shared one.

  /** On zeroed memory the histogram is empty; on memory in use it goes on counting. */
  constructor(words: Int32Array, offset = 0) {
    this.#values = new WideWords(words, offset, BUCKET_COUNT + 2)
    this.#maxNs = this.#values.read(MAX)
  }

  static allocate(): Int32Array<SharedArrayBuffer> {
    return new Int32Array(new SharedArrayBuffer(4 * HISTOGRAM_WORDS))
  }

  /** The recorder. A fraction of a nanosecond is cut off; what is negative or no number counts as 0. */
  record(ns: number): void {
    const value = ns > 0 ? Math.floor(Math.min(ns, RECORD_NS_MAX)) : 0
    this.#values.add(bucketOf(value), 1)
    this.#values.add(SUM, value)
    if (value > this.#maxNs) {
      this.#maxNs = value
      this.#values.raise(MAX, value)
    }
  }

  /** Any thread: the state now, as plain numbers that no longer change. */
  snapshot(): LatencySnapshot {
    const counts = new Float64Array(BUCKET_COUNT)
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) counts[bucket] = this.#values.read(bucket)
    return new LatencySnapshot(counts, this.#values.read(SUM), this.#values.read(MAX))
  }

  count(): number {
    return this.snapshot().count
  }

  percentileNs(percentile: number): number {
    return this.snapshot().percentileNs(percentile)
  }

  maxNs(): number {
    return this.#values.read(MAX)
  }

  meanNs(): number {
    return this.snapshot().meanNs()
  }
}
