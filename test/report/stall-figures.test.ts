import fc from 'fast-check'
import { expect, it } from 'vitest'
import { STALL_NS_MIN, stallFigures } from '../../src/report/stall-figures.ts'

it('counts what exceeds the threshold and nothing else', () => {
  const ns = Float64Array.from([STALL_NS_MIN, 50_000, 100, 150_000, STALL_NS_MIN + 1000])
  expect(stallFigures(ns)).toEqual({
    touches: 5,
    line_us: 2,
    count: 3,
    first_us: 2,
    p50_us: 50,
    p90_us: 150,
    p99_us: 150,
    p999_us: 150,
    max_us: 150,
    sum_ms: 0.2,
  })
})

it('draws the line at three first touches of a page that is there, where that is further up', () => {
  const ns = Float64Array.of(1999, 2001, 14_100, 14_101, 70_000)
  expect(stallFigures(ns, 100)).toMatchObject({ touches: 5, line_us: 2, count: 4 })
  expect(stallFigures(ns, 4700)).toMatchObject({
    touches: 5,
    line_us: 14.1,
    count: 2,
    p50_us: 70,
    sum_ms: 0.08,
  })
})

it('has zeros for no touch and for no stall', () => {
  expect(stallFigures(new Float64Array(0))).toMatchObject({
    touches: 0,
    count: 0,
    first_us: 0,
    max_us: 0,
    sum_ms: 0,
  })
  expect(stallFigures(Float64Array.of(10, 20))).toMatchObject({ touches: 2, count: 0, p50_us: 0, max_us: 0 })
})

it('orders its percentiles, whatever the touches', () => {
  const touches = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 300 })
  fc.assert(
    fc.property(touches, (ns) => {
      const { p50_us, p90_us, p99_us, p999_us, max_us, count, sum_ms } = stallFigures(Float64Array.from(ns))
      const rising = [p50_us, p90_us, p99_us, p999_us, max_us]
      expect(rising).toEqual(rising.toSorted((a, b) => a - b))
      expect(sum_ms).toBeLessThanOrEqual((count * max_us) / 1000 + 0.011 + count * 1e-5)
    }),
  )
})
