/** A client that goes through its memory in prefault's own order: what the policy calls near, and what the window makes of it. */
import { describe, expect, it } from 'vitest'
import { PREFAULT_READ_PAGES_MAX, QUIET_READ_PAGES_MAX } from '../../src/config.ts'
import { AdaptiveWindow } from '../../src/prefault/adaptive-window.ts'
import { schedulingOf } from '../../src/prefault/schedulings.ts'
import { SequentialPolicy } from '../../src/prefault/sequential.ts'
import type { Window } from '../../src/prefault/window.ts'

const PAGE = 4096
const S = 1e9

describe('near', () => {
  it('is what was named in the last 4 MiB, and 64 pages more', () => {
    const policy = new SequentialPolicy()
    policy.advance(5000)
    expect([3975, 3976, 5063, 5064].map((page) => policy.isNear(page))).toEqual([false, true, true, false])
    policy.onFault(100)
    expect([0, 101, 164, 165, 5000].map((page) => policy.isNear(page))).toEqual([
      true,
      true,
      true,
      false,
      false,
    ])
  })

  it('at the beginning is the beginning', () => {
    const policy = new SequentialPolicy()
    expect([0, 63, 64].map((page) => policy.isNear(page))).toEqual([true, true, false])
  })
})

/** A road of so many bytes a nanosecond and 100 µs, measured for three seconds. */
function measured(bytesPerNs: number, window: Window): Window {
  const everyNs = 65_536 / bytesPerNs
  for (let ns = 0; ns < 3 * S; ns += everyNs) window.onCompletion(65_536, 100_000 + everyNs, ns)
  return window
}
const s2 = (without: Parameters<typeof schedulingOf>[1] = []) => schedulingOf('S2', without).window(PAGE)
const faults = (window: Window, ...near: boolean[]) => {
  for (const isNear of near) window.onDemand(3 * S, isNear)
}
const pages = (window: Window, pending = 0, atNs = 3 * S) => {
  window.bytes(pending, atNs)
  return window.readPages(1024, atNs)
}

describe('a client that follows over a fast road', () => {
  it('leaves reads long from its second fault on, while one is pending too', () => {
    const window = measured(1, s2())
    faults(window, true, true)
    expect(pages(window, 1)).toBe(PREFAULT_READ_PAGES_MAX) // The first may have been anybody's.
    expect(pages(window, 1, 3.02 * S)).toBeGreaterThan(PREFAULT_READ_PAGES_MAX)
    expect(pages(window, 1, 3.02 * S)).toBeLessThanOrEqual(QUIET_READ_PAGES_MAX)
  })

  it('finds as much in flight as the road holds and carries in a millisecond', () => {
    const window = measured(1, s2())
    const quiet = window.bytes(0, 3 * S)
    faults(window, true, true)
    const followed = window.bytes(1, 3.02 * S)
    expect(followed).toBeGreaterThan(1e6)
    expect(followed).toBeLessThan(quiet + 1e6)
    const fast = measured(8, s2())
    faults(fast, true, true)
    expect(fast.bytes(1, 3.02 * S)).toBeLessThan(4 << 20)
  })

  it('is one no more with a fault elsewhere, nor are two threads that fault in turns', () => {
    const window = measured(1, s2())
    faults(window, true, true, true, false)
    expect(pages(window, 0, 3.004 * S)).toBe(PREFAULT_READ_PAGES_MAX)
    const both = measured(1, s2())
    faults(both, true, false, true, false, true)
    expect(pages(both, 1, 3.03 * S)).toBe(PREFAULT_READ_PAGES_MAX)
  })

  it('is demand as any other without the level', () => {
    const window = measured(1, s2(['following']))
    faults(window, true, true, true)
    expect(pages(window, 1, 3.03 * S)).toBe(PREFAULT_READ_PAGES_MAX)
  })
})

it('over a slow road a client that follows is demand as any other: it waits for the wire', () => {
  const window = measured(0.117, s2())
  const stranger = measured(0.117, s2())
  faults(window, true, true, true)
  faults(stranger, false, false, false)
  expect(pages(window, 1, 3.01 * S)).toBe(pages(stranger, 1, 3.01 * S))
  expect(window.bytes(1, 3.01 * S)).toBe(stranger.bytes(1, 3.01 * S))
})

it('before the road is known a client that follows is demand as any other', () => {
  const window = new AdaptiveWindow(PAGE, PREFAULT_READ_PAGES_MAX, QUIET_READ_PAGES_MAX)
  faults(window, true, true, true)
  expect(pages(window, 1)).toBe(1)
})
