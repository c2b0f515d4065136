import { describe, expect, it } from 'vitest'
import { QUIET_READ_PAGES_MAX } from '../../src/config.ts'
import type { LevelName } from '../../src/levels.ts'
import { schedulingOf } from '../../src/prefault/schedulings.ts'
import type { Window } from '../../src/prefault/window.ts'
import { exerciseWindow } from '../../src/workers/exercise-window.ts'

const PAGE_BYTES = 4096
const QUANTUM_PAGES = 8
const STEPS = 1200

interface Seen {
  readonly readPages: Set<number>
  /** All answers of bytes(), in order, and how many stood still. */
  readonly bytes: number[]
  readonly pendingThen: number[]
  readonly isNear: Set<boolean>
  readonly pending: Set<number>
  readonly rests: Set<boolean>
  /** Looks at which one read was all that might be in flight, after a long time. */
  drains: number
  ofNeighbours: number
  isLastOrderKept: boolean
}

/** A window that goes along, and what it was asked and has answered. */
function watched(window: Window): [Window, Seen] {
  const seen: Seen = {
    readPages: new Set(),
    bytes: [],
    pendingThen: [],
    isNear: new Set(),
    pending: new Set(),
    rests: new Set(),
    drains: 0,
    ofNeighbours: 0,
    isLastOrderKept: true,
  }
  let lastNs = 0
  let isAged = false
  let pages = 0
  const at = (nowNs: number) => {
    if (nowNs < lastNs) seen.isLastOrderKept = false
    if (nowNs - lastNs > 5e9) isAged = true
    lastNs = nowNs
  }
  const watching: Window = {
    onDemand: (nowNs, isNear, isOfNeighbour) => {
      at(nowNs)
      seen.isNear.add(isNear)
      if (isOfNeighbour) seen.ofNeighbours++
      window.onDemand(nowNs, isNear, isOfNeighbour)
    },
    readPages: (pagesMax, nowNs) => {
      at(nowNs)
      pages = window.readPages(pagesMax, nowNs)
      seen.readPages.add(pages)
      return pages
    },
    bytes: (pending, nowNs) => {
      at(nowNs)
      seen.pending.add(pending)
      const bytes = window.bytes(pending, nowNs)
      seen.bytes.push(bytes)
      seen.pendingThen.push(pending)
      if (isAged && bytes === pages * PAGE_BYTES) seen.drains++
      return bytes
    },
    onDemandAnswered: (ns) => window.onDemandAnswered(ns),
    takeRest: () => {
      const isDue = window.takeRest()
      seen.rests.add(isDue)
      return isDue
    },
    onCompletion: (bytes, rttNs, nowNs) => {
      at(nowNs)
      window.onCompletion(bytes, rttNs, nowNs)
    },
  }
  return [watching, seen]
}

function exercise(without: LevelName[]): Seen[] {
  const all: Seen[] = []
  const makeWindow = (pageBytes: number) => {
    const [window, seen] = watched(schedulingOf('S2', without).window(pageBytes))
    all.push(seen)
    return window
  }
  exerciseWindow(makeWindow, PAGE_BYTES, QUIET_READ_PAGES_MAX, STEPS)
  return all
}

describe('exerciseWindow', () => {
  const all = exercise([])

  it('takes each of four windows through everything that makes a read short or long', () => {
    expect(all).toHaveLength(4)
    for (const seen of all) {
      expect(seen.isLastOrderKept).toBe(true)
      expect([...seen.isNear].sort()).toEqual([false, true])
      expect([...seen.pending].sort((a, b) => a - b)).toEqual([0, 1, 16])
      expect(seen.ofNeighbours).toBeGreaterThan(0)
      expect([...seen.rests].sort()).toEqual([false, true])
      expect([...seen.readPages]).toEqual(expect.arrayContaining([1, QUANTUM_PAGES]))
      expect(Math.max(...seen.readPages)).toBeGreaterThan(QUANTUM_PAGES)
    }
  })

  it('has one and a crowd stand still on roads that have not been fast yet, where the window answers by how many', () => {
    const looksOf = ({ bytes, pendingThen }: Seen, pending: number) =>
      bytes.filter((_, i) => i > 200 && i < 400 && pendingThen[i] === pending)
    const leastOf = (seen: Seen, pending: number) => Math.min(...looksOf(seen, pending))
    for (const seen of all) expect(looksOf(seen, 16)).not.toHaveLength(0)
    const grows = all.map((seen) => leastOf(seen, 16) - leastOf(seen, 1) >= 4 * PAGE_BYTES)
    expect(grows).toContain(true)
  })

  it('lets roads run empty', () => {
    for (const seen of all) expect(seen.drains).toBeGreaterThan(0)
  })

  it('has a client follow where the road is fast: without that the window would answer otherwise', () => {
    const others = exercise(['following'])
    expect(all.every((seen, i) => seen.bytes.join() === others[i]?.bytes.join())).toBe(false)
    expect(all.map((seen) => seen.bytes)).toEqual(exercise([]).map((seen) => seen.bytes)) // Nothing else would.
  })

  it('ends for a window that never lets a page through', () => {
    const closed: Window = {
      bytes: () => 0,
      readPages: () => 1,
      onDemand: () => {},
      onDemandAnswered: () => {},
      takeRest: () => false,
      onCompletion: () => {},
    }
    exerciseWindow(() => closed, PAGE_BYTES, QUIET_READ_PAGES_MAX, STEPS)
  })
})
