import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Counters, counterWords } from '../../src/ring/counters.ts'
import { WideWords } from '../../src/ring/wide-words.ts'

it('counts by index and is read by name, past 2^31 and from another view of the same memory', () => {
  const words = Counters.allocate(2)
  const owner = new Counters(['pages', 'bytes'], words)
  const reader = new Counters(['pages', 'bytes'], new Int32Array(words.buffer))
  owner.add(owner.indexOf('pages'), 1)
  for (let i = 0; i < 5000; i++) owner.add(1, 2 ** 31 - 1)
  expect(reader.snapshot()).toEqual({ pages: 1, bytes: 5000 * (2 ** 31 - 1) })
  expect(new Counters(['pages', 'bytes'], words).read(1), 'a restarted owner goes on').toBe(
    5000 * (2 ** 31 - 1),
  )
})

it('adds like numbers do', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 2 ** 31 - 9, max: 2 ** 40 }))),
      (amounts) => {
        const wide = new WideWords(new Int32Array(3 * 3), 0, 3)
        let sum = 0
        for (const amount of amounts) {
          wide.add(1, amount)
          sum += amount
          expect(wide.read(1)).toBe(sum)
        }
        expect([wide.read(0), wide.read(2)]).toEqual([0, 0])
      },
    ),
  )
})

it('is raised to a value', () => {
  const wide = new WideWords(new Int32Array(3), 0, 1)
  for (const value of [0, 5, 2 ** 31 - 1, 2 ** 31, 2 ** 40 + 1]) {
    wide.raise(0, value)
    expect(wide.read(0)).toBe(value)
  }
})

it('refuses a name given twice, and memory that is too small', () => {
  expect(() => new Counters(['a', 'a'], Counters.allocate(2))).toThrow(/twice/)
  expect(() => new Counters(['a', 'b'], new Int32Array(5))).toThrow(/do not fit/)
  expect(counterWords(1)).toBe(32)
})
