import { describe, expect, it } from 'vitest'
import { ARRIVALS_WORDS, Arrivals } from '../../src/lane/arrivals.ts'
import { Random } from '../../src/transport/conformance/random.ts'

const OFFSET = 3
/** What the words have room for: two minutes and a bit. */
const ROUND_NS = 64 * 2 ** 31

let nowNs = 0
const clock = { nowNs: () => nowNs }
const make = () => new Arrivals(new Int32Array(new SharedArrayBuffer((OFFSET + ARRIVALS_WORDS) * 4)), OFFSET)

describe('arrivals', () => {
  it.each([0, 1, 63, 64, 2 ** 31 - 2])(
    'page %i came when it came, within 64 ns, wherever the clock is',
    (page) => {
      const arrivals = make()
      for (const startNs of [0, 1e9, ROUND_NS - 1000, 3 * ROUND_NS - 32, 1e15]) {
        nowNs = startNs + 5000
        arrivals.note(page, clock)
        const came = arrivals.timeNs(page, startNs, startNs + 9000)
        expect(Math.abs(came - nowNs)).toBeLessThanOrEqual(64)
      }
    },
  )

  it('a page that never came, or whose place another has, came now', () => {
    const arrivals = make()
    expect(arrivals.timeNs(0, 100, 900)).toBe(900)
    nowNs = 500
    arrivals.note(7, clock)
    arrivals.note(7 + 64, clock)
    expect(arrivals.timeNs(7, 100, 900)).toBe(900)
  })

  it('a time from before the wait is that of another client’s page', () => {
    const arrivals = make()
    nowNs = 1e6
    arrivals.note(7, clock)
    expect(arrivals.timeNs(7, 2e6, 3e6)).toBe(3e6)
  })

  it('a time that the other thread’s clock was ahead for is now', () => {
    const arrivals = make()
    nowNs = 5e6 + 2000
    arrivals.note(7, clock)
    expect(arrivals.timeNs(7, 4e6, 5e6)).toBe(5e6)
  })

  it('never tells a time outside the wait, and keeps to its own words (seed 20261130)', () => {
    const random = new Random(20261130)
    const words = new Int32Array(new SharedArrayBuffer((OFFSET + ARRIVALS_WORDS + 2) * 4))
    const arrivals = new Arrivals(words, OFFSET)
    nowNs = 1e12
    for (let n = 0; n < 20_000; n++) {
      nowNs += random.below(random.below(20) === 0 ? 1e11 : 1e5)
      if (random.below(2) === 0) arrivals.note(random.below(200), clock)
      const sinceNs = nowNs - random.below(1e6)
      const came = arrivals.timeNs(random.below(200), sinceNs, nowNs)
      expect(came >= sinceNs && came <= nowNs).toBe(true)
    }
    expect([...words.subarray(0, OFFSET), ...words.subarray(OFFSET + ARRIVALS_WORDS)]).toEqual([
      0, 0, 0, 0, 0,
    ])
  })
})
