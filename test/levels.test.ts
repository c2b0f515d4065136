import { describe, expect, it } from 'vitest'
import { PREFAULT_READ_PAGES_MAX, QUIET_READ_PAGES_MAX } from '../src/config.ts'
import { PageByPage } from '../src/fault/page-by-page.ts'
import { isOn, LEVEL_NAMES, levelsAt, requireLevels } from '../src/levels.ts'
import { SCHEDULINGS, schedulingOf } from '../src/prefault/schedulings.ts'
import type { Window } from '../src/prefault/window.ts'
import { AdaptiveWait, makeWait } from '../src/workers/wait.ts'

const PAGE = 4096

describe('the names of the levels', () => {
  it('belong to an end each, and are on unless they are named', () => {
    expect(new Set([...levelsAt('attach'), ...levelsAt('serve')])).toEqual(new Set(LEVEL_NAMES))
    for (const name of LEVEL_NAMES) {
      expect(isOn(name, undefined)).toBe(true)
      expect(
        isOn(
          name,
          LEVEL_NAMES.filter((other) => other !== name),
        ),
      ).toBe(true)
      expect(isOn(name, [name])).toBe(false)
    }
  })

  it('are taken once each, and an unknown one is told the known ones', () => {
    expect(requireLevels(['class', 'window', 'class'], 'attach', 'tcp')).toEqual(['class', 'window'])
    expect(() => requireLevels(['turbo'], 'attach', 'tcp')).toThrow(
      /got turbo, expected some of class, .*window/,
    )
    expect(() => requireLevels([''], 'serve', 'tcp')).toThrow(/some of class/)
    expect(() => requireLevels(['quantum'], 'attach', 'tcp')).toThrow(/quantum is a level of serve/)
    expect(() => requireLevels(['window'], 'serve', 'tcp')).toThrow(/window is a level of attach/)
    expect(() => requireLevels(['quantum'], 'serve', 'shm')).toThrow(/over shm:/)
    expect(requireLevels(['twin'], 'attach', 'shm')).toEqual(['twin'])
    expect(() => requireLevels(['twin'], 'attach', 'tcp')).toThrow(/got twin, expected some of class/)
  })
})

/** A road of 1 Gbit/s and 100 µs that has been measured: reads in flight come back in their time. */
function runIn(window: Window): void {
  for (let ns = 0; ns < 3e9; ns += 131_000) window.onCompletion(16_384, 231_000, ns)
}

describe('levels of the requester', () => {
  it('window: what the road holds; without it 1 MiB, whatever the road', () => {
    const [on, off] = [schedulingOf('S2', []).window(PAGE), schedulingOf('S2', ['window']).window(PAGE)]
    for (const window of [on, off]) runIn(window)
    expect(on.bytes(0, 3e9)).toBeLessThan(256 * 1024)
    expect(off.bytes(0, 3e9)).toBe(1024 * 1024)
  })

  it('short-reads: a read is short beside demand; without it never', () => {
    const [on, off] = [schedulingOf('S2', []).window(PAGE), schedulingOf('S2', ['short-reads']).window(PAGE)]
    for (const window of [on, off]) {
      runIn(window)
      window.onDemand(3e9, false)
      window.bytes(1, 3e9)
    }
    expect(on.readPages(16, 3e9)).toBeLessThan(8)
    expect(off.readPages(16, 3e9)).toBeGreaterThan(PREFAULT_READ_PAGES_MAX)
  })

  it('reads are longer than a quantum only on a fast road without demand', () => {
    const [slow, fast] = [schedulingOf('S2', []).window(PAGE), schedulingOf('S2', []).window(PAGE)]
    runIn(slow)
    for (let ns = 0; ns < 3e9; ns += 30_000) fast.onCompletion(65_536, 80_000, ns) // 2.2 GB/s
    for (const window of [slow, fast]) expect(window.readPages(8, 3e9)).toBe(8)
    expect(slow.readPages(1024, 3e9)).toBe(15) // 0.5 ms of 1 Gbit/s.
    expect(fast.readPages(1024, 3e9)).toBe(QUIET_READ_PAGES_MAX)
    expect(fast.readPages(32, 3e9)).toBe(32)
    fast.onDemand(3e9, false)
    expect(fast.readPages(1024, 3.004e9)).toBe(PREFAULT_READ_PAGES_MAX)
    expect(fast.readPages(1024, 3.006e9)).toBe(QUIET_READ_PAGES_MAX) // One fault that came alone.
    fast.onDemand(3.007e9, false)
    expect(fast.readPages(1024, 3.026e9)).toBe(PREFAULT_READ_PAGES_MAX)
    expect(fast.readPages(1024, 3.028e9)).toBe(QUIET_READ_PAGES_MAX)
    fast.bytes(1, 3.03e9)
    expect(fast.readPages(1024, 3.034e9)).toBe(PREFAULT_READ_PAGES_MAX) // While one is pending.
  })

  it('connection: of its own; without it shared', () => {
    expect(schedulingOf('S2', []).isShared).toBe(false)
    expect(schedulingOf('S2', ['connection']).isShared).toBe(true)
    expect(schedulingOf('S1', []).about).toBe(SCHEDULINGS.S1.about)
  })
})

describe('yield', () => {
  it('gives way in idle turns only', () => {
    let yields = 0
    const wait = new AdaptiveWait({ nowNs: () => 0 }, () => yields++)
    for (const work of [1, 0, 0, 0, 1, 1]) wait.shouldPark(work)
    expect(yields).toBe(3)
  })

  it('looks once more after it gave way: what came meanwhile needs no park', () => {
    let nowNs = 0
    const wait = new AdaptiveWait({ nowNs: () => nowNs }, () => (nowNs += 15_000), 20_000)
    expect([1, 0, 0].map((work) => wait.shouldPark(work))).toEqual([false, false, false])
    expect(nowNs).toBe(30_000) // Longer than it spins, but the turn after it may find something.
    expect(wait.shouldPark(1)).toBe(false)
    expect([0, 0, 0].map((work) => wait.shouldPark(work))).toEqual([false, false, true])
  })

  it('off: the wait is the same, without the system call', () => {
    const [on, off] = [true, false].map((isYielding) => makeWait('adaptive', { nowNs: () => 0 }, isYielding))
    for (const work of [1, 0, 0]) expect(off?.shouldPark(work)).toBe(on?.shouldPark(work))
  })
})

describe('batch', () => {
  it('off: one call a page, and where the kernel stops, the pages before are there', () => {
    const calls: number[][] = []
    const placer = {
      status: 0,
      place: (page: number, pages: number, address: number) => {
        calls.push([page, pages, address])
        return page < 9 ? pages : 0
      },
      placeZero: (_page: number, pages: number) => pages,
      wake: () => {},
      lose: () => {},
    }
    const off = new PageByPage(placer, PAGE)
    expect(off.place(5, 8, 1 << 20)).toBe(4)
    expect(calls).toEqual([5, 6, 7, 8, 9].map((page, i) => [page, 1, (1 << 20) + i * PAGE]))
    placer.status = 1
    expect(off.status).toBe(1)
    expect(off.placeZero(0, 3)).toBe(3)
  })
})
