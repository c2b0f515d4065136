import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { BUCKET_COUNT, bucketMiddleNs, bucketOf, RECORD_NS_MAX } from '../../src/ring/latency-buckets.ts'
import { LatencySnapshot } from '../../src/ring/latency-snapshot.ts'

/** As likely to be around 10 ns as around 10 s. */
const duration = fc
  .double({ min: 0, max: Math.log(RECORD_NS_MAX), noNaN: true })
  .map((exponent) => Math.floor(Math.exp(exponent)))

describe('the buckets', () => {
  it('report every duration within 1 %, and the short ones exactly', () => {
    fc.assert(
      fc.property(duration, (ns) => {
        expect(Math.abs(bucketMiddleNs(bucketOf(ns)) - ns)).toBeLessThanOrEqual(ns / 100)
      }),
      { numRuns: 2000 },
    )
    for (let ns = 0; ns < 128; ns++) expect(bucketMiddleNs(bucketOf(ns))).toBe(ns)
  })

  it('follow one another without gap at every power of two', () => {
    for (let exponent = 1; exponent <= 36; exponent++) {
      const ns = 2 ** exponent
      expect(bucketOf(ns) - bucketOf(ns - 1)).toBe(1)
      expect(bucketOf(ns + 1) - bucketOf(ns)).toBe(exponent < 7 ? 1 : 0)
    }
    expect(bucketOf(RECORD_NS_MAX)).toBeLessThan(BUCKET_COUNT)
    expect(bucketOf(2 ** 37 - 1)).toBe(BUCKET_COUNT - 1)
  })
})

it('is empty at first', () => {
  const { count, maxNs } = new LatencyHistogram(LatencyHistogram.allocate()).snapshot()
  expect([count, maxNs, LatencySnapshot.empty().percentileNs(50), LatencySnapshot.empty().meanNs()]).toEqual([
    0, 0, 0, 0,
  ])
})

it('answers like a sorted list, within 1 %', () => {
  fc.assert(
    fc.property(
      fc.array(duration, { minLength: 1, maxLength: 300 }),
      fc.integer({ min: 0, max: 1000 }),
      (durations, perMille) => {
        const words = LatencyHistogram.allocate()
        const recorder = new LatencyHistogram(words)
        const reader = new LatencyHistogram(words)
        for (const ns of durations) recorder.record(ns)
        const sorted = durations.toSorted((a, b) => a - b)
        const expected = sorted[Math.max(1, Math.ceil((perMille / 1000) * sorted.length)) - 1]!
        expect(Math.abs(reader.percentileNs(perMille / 10) - expected)).toBeLessThanOrEqual(expected / 100)
        expect(reader.count()).toBe(durations.length)
        expect(reader.maxNs()).toBe(sorted.at(-1))
        expect(reader.meanNs()).toBeCloseTo(durations.reduce((a, b) => a + b) / durations.length, 3)
      },
    ),
    { numRuns: 60 },
  )
})

it('takes any number: fractions, negative, none, and beyond the longest', () => {
  const histogram = new LatencyHistogram(LatencyHistogram.allocate())
  for (const ns of [0.5, -1, Number.NaN, 1e15, Number.POSITIVE_INFINITY]) histogram.record(ns)
  expect(histogram.count()).toBe(5)
  expect(histogram.percentileNs(50)).toBe(0)
  expect(histogram.maxNs()).toBe(RECORD_NS_MAX)
})

it('merges and subtracts as if one had recorded all', () => {
  fc.assert(
    fc.property(
      fc.array(duration, { maxLength: 50 }),
      fc.array(duration, { maxLength: 50 }),
      (some, others) => {
        const [a, b, all] = [0, 1, 2].map(() => new LatencyHistogram(LatencyHistogram.allocate()))
        for (const ns of some) a!.record(ns)
        for (const ns of others) b!.record(ns)
        for (const ns of [...some, ...others]) all!.record(ns)
        const merged = a!.snapshot().merge(b!.snapshot())
        expect([...merged.buckets()]).toEqual([...all!.snapshot().buckets()])
        expect([merged.count, merged.sumNs, merged.maxNs]).toEqual([
          all!.count(),
          all!.snapshot().sumNs,
          all!.maxNs(),
        ])

        const before = a!.snapshot()
        for (const ns of others) a!.record(ns)
        const later = a!.snapshot().since(before)
        expect([...later.buckets()]).toEqual([...b!.snapshot().buckets()])
        // Whatever came before: the slowest of those, as finely as a bucket tells.
        const slowest = Math.max(0, ...others)
        expect(Math.abs(later.maxNs - slowest)).toBeLessThanOrEqual(slowest / 64)
      },
    ),
    { numRuns: 30 },
  )
})
