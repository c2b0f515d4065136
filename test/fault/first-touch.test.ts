import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { measureFirstTouchNs } from '../../src/fault/first-touch.ts'

/** Address space of this process. */
const mappedMiB = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) / 256

it('is what the clock says of half of the touches', () => {
  // Every other touch takes 1 µs, the others 9: the median is one of the longer.
  let nowNs = 0
  let looks = 0
  const clock = { nowNs: () => (nowNs += looks++ % 4 === 1 ? 1000 : 9000) }
  expect(measureFirstTouchNs(clock)).toBe(9000)
  expect(looks).toBe(512)
})

it('is no fault here: under 100 µs', () => {
  const ns = measureFirstTouchNs(monotonicClock)
  expect(ns).toBeGreaterThan(0)
  expect(ns).toBeLessThan(100_000)
})

it('leaves no memory behind', () => {
  const beforeMiB = mappedMiB()
  for (let i = 0; i < 200; i++) measureFirstTouchNs(monotonicClock) // A MiB each.
  expect(mappedMiB() - beforeMiB).toBeLessThan(100)
})
