import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WakeMargin } from '../../../src/transport/tcp/wake-margin.ts'

/** A machine whose timers are late by what `lateNs` says; how far past the due time each of `rounds` wake-ups was. */
function wakeUps(due: 'urgent' | 'bulk', lateNs: (round: number) => number, rounds: number): number[] {
  const margin = new WakeMargin()
  let nowNs = 1e9
  return Array.from({ length: rounds }, (_, round) => {
    const dueNs = nowNs + 1e6
    const sleepNs =
      due === 'urgent' ? margin.sleepNs(dueNs, Infinity, nowNs) : margin.sleepNs(Infinity, dueNs, nowNs)
    nowNs += sleepNs + lateNs(round)
    margin.onWoken(nowNs)
    const pastNs = nowNs - dueNs
    if (due === 'urgent') margin.onDelivered(Math.max(0, pastNs))
    nowNs = Math.max(nowNs, dueNs)
    return pastNs
  })
}

describe('WakeMargin', () => {
  it('comes to be in time for nine of ten urgent things, whatever the timer is late by', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 1, max: 60_000 }),
        (least, spread) => {
          const late = (round: number) => least + ((round * 7919) % spread)
          const learned = wakeUps('urgent', late, 4000).slice(3000)
          expect(learned.filter((pastNs) => pastNs > 5000).length).toBeLessThan(200)
          // And not by being woken long before: what is spun is what the timer varies by, and some steps.
          expect(Math.min(...learned)).toBeGreaterThan(-(spread + 20_000 + least / 4))
        },
      ),
      { numRuns: 30 },
    )
  })

  it('counts what passes between waking and handing over, and has learned it in some thirty times', () => {
    const COLD_NS = 250_000
    const margin = new WakeMargin()
    let nowNs = 1e9
    const late = Array.from({ length: 60 }, () => {
      const dueNs = nowNs + 25e6
      nowNs += margin.sleepNs(dueNs, Infinity, nowNs)
      margin.onWoken(nowNs)
      nowNs = Math.max(dueNs, nowNs + COLD_NS)
      margin.onDelivered(nowNs - dueNs)
      return nowNs - dueNs
    })
    expect(late[0]).toBeGreaterThan(150_000)
    expect(late.slice(30).filter((ns) => ns > 5000).length).toBeLessThan(6)
  })

  it('learns one thing of each sleep: what follows without sleeping was not late for its sake', () => {
    const margin = new WakeMargin()
    const before = margin.sleepNs(1e9, Infinity, 0)
    margin.onWoken(1e9)
    margin.onDelivered(1e5)
    const after = margin.sleepNs(1e9, Infinity, 0)
    expect(after).toBeLessThan(before)
    margin.onDelivered(1e5)
    expect(margin.sleepNs(1e9, Infinity, 0)).toBe(after)
  })

  it('tries to sleep again after a time in which it was late all the same', () => {
    const margin = new WakeMargin()
    const DUE_NS = 200_000
    for (let round = 0; round < 100; round++) {
      margin.sleepNs(25e6, Infinity, 0)
      margin.onWoken(26e6)
      margin.onDelivered(1e6)
    }
    expect(margin.sleepNs(DUE_NS, Infinity, 0)).toBe(0) // As long a margin as it may have: it spins for what is nearer.
    let rounds = 0
    while (margin.sleepNs(DUE_NS, Infinity, 0) === 0 && rounds < 1000) {
      margin.onDelivered(0)
      rounds++
    }
    expect(rounds).toBeLessThan(200)
    // Late although it spun: it had lost its processor, and a longer margin would not have helped.
    const before = margin.sleepNs(25e6, Infinity, 0)
    expect(margin.sleepNs(1000, Infinity, 0)).toBe(0)
    margin.onDelivered(1e6)
    expect(margin.sleepNs(25e6, Infinity, 0)).toBe(before)
  })

  it('does not begin to sleep for what is near, because spinning met it', () => {
    const margin = new WakeMargin()
    for (let round = 0; round < 1000; round++) {
      expect(margin.sleepNs(33_000, Infinity, 0)).toBe(0) // A page at 1 Gbit/s: no timer is as exact.
      margin.onDelivered(0)
    }
  })

  it('wakes on time in the middle for what is not urgent, seldom early', () => {
    const learned = wakeUps('bulk', (round) => 40_000 + ((round * 7919) % 20_000), 4000).slice(3000)
    expect(learned.filter((pastNs) => pastNs < 0).length).toBeLessThan(200)
    expect(learned.filter((pastNs) => pastNs > 25_000).length).toBe(0)
  })

  it('spins when something urgent is near, and for nothing else', () => {
    const margin = new WakeMargin()
    expect(margin.sleepNs(1000, Infinity, 0)).toBe(0)
    expect(margin.sleepNs(1e9, 1000, 0)).toBeGreaterThan(0)
    expect(margin.sleepNs(1e9, 1000, 1000)).toBe(0) // It is due: deliver it.
    expect(margin.sleepNs(Infinity, Infinity, 0)).toBe(Infinity)
  })

  it('learns nothing from a sleep that had no time to end', () => {
    const margin = new WakeMargin()
    const before = margin.sleepNs(1e9, Infinity, 0)
    margin.sleepNs(Infinity, Infinity, 0)
    margin.onWoken(5e8)
    expect(margin.sleepNs(1e9, Infinity, 0)).toBe(before)
  })
})
