import { describe, expect, it } from 'vitest'
import type { Channel } from '../../src/transport/transport.ts'
import { redialling } from '../../src/workers/redialling.ts'

/** A source so many milliseconds away: a dial that is given less fails when its time is over. */
function sourceAt(awayMs: () => number) {
  let nowMs = 0
  const given: number[] = []
  const open = (timeoutMs: number): Channel => {
    given.push(timeoutMs)
    nowMs += Math.min(timeoutMs, awayMs())
    if (awayMs() > timeoutMs || awayMs() === 0) throw new Error('away')
    return {} as Channel
  }
  return { given, reopen: redialling(open, { nowNs: () => nowMs * 1e6 }) }
}

function tries(reopen: () => Channel, most: number): number {
  for (let n = 1; n <= most; n++) {
    try {
      reopen()
      return n
    } catch {}
  }
  return Infinity
}

describe('redialling', () => {
  it('finds a source again that is further away than its first patience', () => {
    const { given, reopen } = sourceAt(() => 180)
    expect(tries(reopen, 10)).toBe(3)
    expect(given).toEqual([50, 100, 200])
  })

  it('gives a dial no more than a stop leaves time for', () => {
    const { given, reopen } = sourceAt(() => 10_000)
    expect(tries(reopen, 6)).toBe(Infinity)
    expect(given).toEqual([50, 100, 200, 300, 300, 300])
  })

  it('is as short with the next loss as with the first, and where it is refused at once', () => {
    let awayMs = 80
    const { given, reopen } = sourceAt(() => awayMs)
    expect(tries(reopen, 10)).toBe(2)
    awayMs = 0
    expect(tries(reopen, 2)).toBe(Infinity)
    expect(given).toEqual([50, 100, 50, 50])
  })
})
