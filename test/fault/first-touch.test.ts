import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { measureFirstTouchNs } from '../../src/fault/first-touch.ts'

/** Address space of this process. */
const mappedMiB = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) / 256

it('is what half of the first touches take beyond half of the second ones', () => {
  // Every other first touch takes 1 µs, the others 9; second ones 2 µs: the median is one of the longer.
  let nowNs = 0
  let looks = 0
  const clock = {
    nowNs: () => {
      if (looks < 512) nowNs += looks % 4 === 1 ? 1000 : 9000
      else nowNs += 2000
      looks++
      return nowNs
    },
  }
  expect(measureFirstTouchNs(clock)).toBe(7000)
  expect(looks).toBe(1024)
})

it('is nothing where second touches take longer, by chance', () => {
  let nowNs = 0
  let looks = 0
  expect(measureFirstTouchNs({ nowNs: () => (nowNs += looks++) })).toBe(0)
})

it('is no fault here: under 100 µs', () => {
  const ns = measureFirstTouchNs(monotonicClock)
  expect(ns).toBeGreaterThanOrEqual(0)
  expect(ns).toBeLessThan(100_000)
})

it('leaves no memory behind', () => {
  const beforeMiB = mappedMiB()
  for (let i = 0; i < 200; i++) measureFirstTouchNs(monotonicClock) // A MiB each.
  expect(mappedMiB() - beforeMiB).toBeLessThan(100)
})
