import { describe, expect, it } from 'vitest'
import { GivingWay } from '../../src/workers/giving-way.ts'

function make() {
  const calls = { gaveWay: 0, asked: [] as number[], awake: 0, park: false }
  const inner = {
    shouldPark: (work: number) => {
      calls.asked.push(work)
      return calls.park
    },
    onAwake: () => calls.awake++,
  }
  return { calls, wait: new GivingWay(inner, () => calls.gaveWay++) }
}

describe('GivingWay', () => {
  it('gives way once in every eight pieces of work without a pause', () => {
    const { calls, wait } = make()
    for (let turn = 0; turn < 80; turn++) wait.shouldPark(1)
    expect(calls.gaveWay).toBe(10)
    wait.shouldPark(64) // However much one turn did.
    expect(calls.gaveWay).toBe(11)
  })

  it('does not where there are pauses: a client of one thread is not slowed', () => {
    const { calls, wait } = make()
    for (let turn = 0; turn < 1000; turn++) for (const work of [2, 1, 0, 0]) wait.shouldPark(work)
    expect(calls.gaveWay).toBe(0)
  })

  it('asks the strategy within for every turn, and tells it of every awakening', () => {
    const { calls, wait } = make()
    expect(wait.shouldPark(9)).toBe(false)
    calls.park = true
    expect(wait.shouldPark(0)).toBe(true)
    wait.onAwake()
    expect(calls.asked).toEqual([9, 0])
    expect(calls.awake).toBe(1)
  })
})
