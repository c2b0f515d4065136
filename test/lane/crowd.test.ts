import { expect, test } from 'vitest'
import { Crowd } from '../../src/lane/crowd.ts'

/** Turns until something changes, or none. */
function turnsUntilChange(crowd: Crowd, pending: (turn: number) => number, turnsMax = 10_000): number {
  for (let turn = 1; turn <= turnsMax; turn++) if (crowd.note(pending(turn))) return turn
  return -1
}

test('32 threads that stand still are a crowd within some turns, and none once they are gone', () => {
  const crowd = new Crowd()
  const came = turnsUntilChange(crowd, () => 32)
  expect(came).toBeGreaterThan(1)
  expect(came).toBeLessThan(64)
  expect(crowd.isThere).toBe(true)
  const gone = turnsUntilChange(crowd, () => 0)
  expect(gone).toBeGreaterThan(1)
  expect(gone).toBeLessThan(256)
  expect(crowd.isThere).toBe(false)
})

test('one thread, four of them, and a burst of 32 among quiet turns are none', () => {
  expect(turnsUntilChange(new Crowd(), () => 1)).toBe(-1)
  expect(turnsUntilChange(new Crowd(), () => 4)).toBe(-1)
  expect(turnsUntilChange(new Crowd(), (turn) => (turn % 100 < 5 ? 32 : 0))).toBe(-1)
})

test('between the two bounds nothing changes, whichever way it was', () => {
  const crowd = new Crowd()
  expect(turnsUntilChange(crowd, () => 5)).toBe(-1)
  turnsUntilChange(crowd, () => 32)
  expect(turnsUntilChange(crowd, () => 4)).toBe(-1)
  expect(crowd.isThere).toBe(true)
})
