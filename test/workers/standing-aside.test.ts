import { describe, expect, it } from 'vitest'
import { StandingAside } from '../../src/workers/standing-aside.ts'

/** A thread that works all the time, and waits for so much of it where it is kept. */
function thread(waited: number) {
  const state = { nowNs: 0, ranNs: 0, waitedNs: 0, waited, isFree: true, moves: 0 }
  const aside = new StandingAside(
    { shouldPark: (work) => work === 0, onAwake: () => {} },
    { nowNs: () => state.nowNs },
    () => ({ ranNs: state.ranNs, waitedNs: state.waitedNs }),
    (isFree) => {
      state.isFree = isFree
      state.moves++
    },
  )
  const work = (ms: number) => {
    let freeMs = 0
    for (let i = 0; i < ms; i++) {
      const share = state.isFree ? 0 : state.waited
      state.nowNs += 1e6
      state.waitedNs += 1e6 * share
      state.ranNs += 1e6 * (1 - share)
      if (state.isFree) freeMs++
      expect(aside.shouldPark(1)).toBe(false)
      expect(aside.shouldPark(0)).toBe(true)
    }
    return freeMs / ms
  }
  return { state, aside, work }
}

describe('StandingAside', () => {
  it('stays off the road from the start where it gets its turns', () => {
    const { state, work } = thread(0.4)
    expect(state.isFree).toBe(false)
    expect(work(2000)).toBe(0)
    expect(state.moves).toBe(1)
  })

  it('runs anywhere where it starves, and tries again now and then', () => {
    const { state, work } = thread(0.8)
    expect(work(30_000)).toBeCloseTo(60 / (60 + 20), 1) // FREE_NS of each FREE_NS and LOOK_NS.
    expect(state.moves).toBeGreaterThan(50)
  })

  it('goes back once the other processor is free again', () => {
    const { state, work } = thread(0.8)
    work(100)
    expect(state.isFree).toBe(true)
    state.waited = 0.1
    work(80)
    expect(work(2000)).toBe(0)
  })

  it('looks only when it works: who sleeps does not starve', () => {
    const { state, aside } = thread(0)
    state.nowNs += 1e9
    state.waitedNs += 1e9
    aside.shouldPark(0)
    expect(state.moves).toBe(1)
    aside.shouldPark(1)
    expect(state.moves).toBe(2)
  })
})
