/**
 * The buckets of a latency histogram. Log-linear: below 128 ns every value has its own, above that each power
 * of two is cut into 64, so that the middle of a bucket is at most 1/128 = 0.8 % from anything in it.
 */
const SUB_BITS = 6
const SUB_COUNT = 2 ** SUB_BITS

/** Longer ones count as this long; 100 s is beyond every timeout that we have. */
export const RECORD_NS_MAX = 100e9

/** 2^36 < 100e9 < 2^37: (36 - 6) × 64 + 127 is the last bucket. */
export const BUCKET_COUNT = (36 - SUB_BITS) * SUB_COUNT + 2 * SUB_COUNT

/** Which bucket counts a duration of 0 to RECORD_NS_MAX. */
export function bucketOf(ns: number): number {
  if (ns < SUB_COUNT) return ns | 0
  if (ns < 2 ** 31) {
    const shift = 31 - SUB_BITS - Math.clz32(ns)
    return shift * SUB_COUNT + (ns >>> shift)
  }
  // Beyond int32: 64 ns steps are finer than these buckets, and fit.
  const steps = Math.floor(ns / SUB_COUNT)
  const shift = 31 - SUB_BITS - Math.clz32(steps)
  return (shift + SUB_BITS) * SUB_COUNT + (steps >>> shift)
}

/** The middle of a bucket: what a reading reports for everything in it. */
export function bucketMiddleNs(bucket: number): number {
  if (bucket < 2 * SUB_COUNT) return bucket
  const shift = Math.floor(bucket / SUB_COUNT) - 1
  const width = 2 ** shift
  return (bucket - shift * SUB_COUNT) * width + (width - 1) / 2
}
