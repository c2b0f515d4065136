/**
 * Every interleaving of small rings and of the doorbell, on the shipped code; and the same with one line of it
 * broken, which must be found. The bounds below keep the models large enough to mean something: a ring that is
 * full, empty and wrapped (the start position -1 also takes it over the 2^32 wrap) with competing producers.
 */
import { describe, expect, it } from 'vitest'
import * as doorbells from '../../src/ring/doorbell.ts'
import * as line from '../../src/ring/line-ring.ts'
import * as mpsc from '../../src/ring/mpsc-ring.ts'
import * as spsc from '../../src/ring/spsc-ring.ts'
import { WideWords } from '../../src/ring/wide-words.ts'
import { stopModel, wakeModel } from './doorbell-models.ts'
import { type Explored, explore, type Model, plain } from './explorer.ts'
import { loadMutant } from './mutant.ts'
import {
  deathModel,
  lateCommitModel,
  lineModel,
  mpscModel,
  spscModel,
  successorModel,
} from './ring-models.ts'

const spscRing = (capacity = 2) => spsc.allocateSpscRing(capacity, 1, -1)
const lineRing = (capacity = 2) => line.allocateLineRing(capacity, 16, 0, -1)
const mpscRing = (capacity = 2) => mpsc.allocateMpscRing(capacity, 1, -1)

/** A model that shrank would pass for the wrong reason. */
function expectAtLeast(explored: Explored, schedules: bigint): void {
  expect(explored.schedules).toBeGreaterThanOrEqual(schedules)
}

/** The explorer must fail by a check or a deadlock, and not because the mutant does not even run. */
function expectFound(model: Model): void {
  let found: unknown
  try {
    explore(model)
  } catch (thrown) {
    found = thrown
  }
  expect(found).toBeInstanceOf(Error)
  const { message, cause } = found as Error & { cause: Error }
  expect(message).toMatch(/after the schedule/)
  expect(cause.name === 'AssertionError' || cause.message.startsWith('deadlock'), message).toBe(true)
}

describe('the explorer', () => {
  it('finds the lost update of two threads that add by load and store, and counts their schedules', () => {
    const words = new Int32Array(1)
    const add = () => {
      plain.write(words, 0, plain.read(words, 0) + 1)
    }
    const sums = new Set<number>()
    const model = { words, threads: [add, add], check: () => void sums.add(words[0]!) }
    expect(explore(model).schedules).toBe(6n)
    expect(sums).toEqual(new Set([1, 2]))

    const atomic = { ...model, threads: [() => Atomics.add(words, 0, 1), () => Atomics.add(words, 0, 1)] }
    sums.clear()
    expect(explore(atomic).schedules).toBe(2n)
    expect(sums).toEqual(new Set([2]))
  })

  it('finds a sleeper that nobody wakes, and gives the atomics back', () => {
    const shipped = globalThis.Atomics
    const words = new Int32Array(new SharedArrayBuffer(4))
    const threads = [() => Atomics.wait(words, 0, 0), () => Atomics.notify(words, 0)]
    expect(() => explore({ words, threads, check: () => {} })).toThrow(/deadlock: thread 0 sleeps for ever/)
    expect(globalThis.Atomics).toBe(shipped)
  })
})

describe('every interleaving of the spsc ring', () => {
  it.each([1, 2])('of capacity %i, record by record', (capacity) => {
    expectAtLeast(explore(spscModel(spsc, spscRing(capacity), false)), 1_000_000n)
  })

  it.each([1, 2])('of capacity %i, in batches', (capacity) => {
    expectAtLeast(explore(spscModel(spsc, spscRing(capacity), true)), 1_000_000n)
  })

  it.each([
    [
      'claims one more than is free',
      'this.#mask)\n                return NO_RECORD',
      'this.#mask + 1)\n                return NO_RECORD',
    ],
    [
      'reads one more than is committed',
      'this.#tailSeen = Atomics.load(this.words, this.#tailAt); // Pairs with RingProducer.commit().',
      'this.#tailSeen = Atomics.load(this.words, this.#tailAt) + 1',
    ],
    [
      'never looks at the head again',
      'this.#headSeen = Atomics.load(this.words, this.#headAt); // Pairs with RingConsumer.releaseBatch().\n            if',
      'this.#headSeen++\n            if',
    ],
  ])('finds a ring that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof spsc>('spsc-ring.js', from, to)
    expectFound(spscModel(mutant, spscRing(), false))
  })

  it.each([
    [
      'hands out a batch of one more than is free',
      'free = this.capacity - ((this.#tail - this.#headSeen) | 0);\n        }',
      'free = this.capacity + 1 - ((this.#tail - this.#headSeen) | 0);\n        }',
    ],
    [
      'publishes the batch at the claim',
      'return Math.max(0, Math.min(free, countMax, this.capacity - (this.#tail & this.#mask)));',
      'const n = Math.max(0, Math.min(free, countMax, this.capacity - (this.#tail & this.#mask))); Atomics.store(this.words, this.#tailAt, this.#tail + n | 0); return n;',
    ],
  ])('finds a ring that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof spsc>('spsc-ring.js', from, to)
    expectFound(spscModel(mutant, spscRing(), true))
  })
})

describe('every interleaving of the line ring', () => {
  it.each([1, 2])('of capacity %i', (capacity) => {
    expectAtLeast(explore(lineModel(line, lineRing(capacity))), 1_000_000n)
  })

  it.each([1, 2])('of capacity %i with a producer that dies and its successor', (capacity) => {
    expectAtLeast(explore(successorModel(line, lineRing(capacity))), 500_000n)
  })

  it.each([
    [
      'claims one more than is free',
      'this.#mask)\n                return NO_RECORD',
      'this.#mask + 1)\n                return NO_RECORD',
    ],
    [
      'takes the sequence of any lap for its own',
      'if (Atomics.load(this.words, at + SEQUENCE) !== ((this.#head + 1) | 0))',
      'if (Atomics.load(this.words, at + SEQUENCE) === 0)',
    ],
    [
      'says what the neighbour is',
      'Atomics.store(this.words, sequenceAt, this.#tail);',
      'Atomics.store(this.words, sequenceAt, this.#tail + 1 | 0);',
    ],
    [
      'never looks at the head again',
      'this.#headSeen = Atomics.load(this.words, this.#headAt); // Pairs with LineConsumer.release().\n            if',
      'this.#headSeen++\n            if',
    ],
    [
      'gives a record back when it is looked at',
      'return NO_RECORD;\n        return at;',
      'return NO_RECORD;\n        Atomics.store(this.words, this.#headAt, this.#head + 1 | 0);\n        return at;',
    ],
  ])('finds a ring that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof line>('line-ring.js', from, to)
    expectFound(lineModel(mutant, lineRing()))
  })

  it('finds a successor that begins at the head', async () => {
    const mutant = await loadMutant<typeof line>(
      'line-ring.js',
      '<= this.#mask && this.#isPublished()',
      '< 0',
    )
    expectFound(successorModel(mutant, lineRing()))
  })
})

describe('every interleaving of the mpsc ring', () => {
  it('of capacity 2 with 2 × 2 records, one by one', { timeout: 120_000 }, () => {
    expectAtLeast(
      explore(
        mpscModel(
          mpsc,
          mpscRing(),
          [
            [11, 12],
            [21, 22],
          ],
          false,
        ),
      ),
      10n ** 20n,
    )
  })

  it('of capacity 2 with 2 × 2 records, in batches', { timeout: 120_000 }, () => {
    expectAtLeast(
      explore(
        mpscModel(
          mpsc,
          mpscRing(),
          [
            [11, 12],
            [21, 22],
          ],
          true,
        ),
      ),
      10n ** 15n,
    )
  })

  it('of capacity 1 with 2 + 1 records', () => {
    expectAtLeast(explore(mpscModel(mpsc, mpscRing(1), [[11, 12], [21]], false)), 10n ** 9n)
  })

  it('of capacity 2 with three producers', () => {
    expectAtLeast(explore(mpscModel(mpsc, mpscRing(), [[11], [21], [31]], false)), 10n ** 9n)
  })

  it('with a producer that dies between claim and commit', () => {
    expectAtLeast(explore(deathModel(mpsc, mpscRing())), 10n ** 9n)
  })

  it('with a producer that commits when it was given up for dead', () => {
    expectAtLeast(explore(lateCommitModel(mpsc, mpscRing())), 10n)
  })

  it.each([
    [
      'claims without compare-exchange',
      'Atomics.compareExchange(this.words, this.#tailAt, tail, (tail + count) | 0) === tail',
      'Atomics.store(this.words, this.#tailAt, (tail + count) | 0) !== undefined',
    ],
    [
      'claims one more than is free',
      'free = this.capacity - ((tail - head) | 0)',
      'free = this.capacity + 1 - ((tail - head) | 0)',
    ],
    [
      'reads what is claimed and not committed',
      'sequence !== ((this.#head + count + 1) | 0)',
      'Atomics.load(this.words, this.#tailAt) === this.#head',
    ],
    [
      'loads the head before the tail',
      'const tail = Atomics.load(this.words, this.#tailAt);',
      'const old = Atomics.load(this.words, this.#headAt); const tail = Atomics.load(this.words, this.#tailAt); Atomics.store(this.words, this.#headSeenAt, old + 1);',
    ],
    [
      'commits to the slot of its neighbour',
      'this.#sequencesAt + (position & this.#mask)',
      'this.#sequencesAt + (Atomics.load(this.words, this.#tailAt) & this.#mask)',
    ],
  ])('finds a ring that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof mpsc>('mpsc-ring.js', from, to)
    expectFound(mpscModel(mutant, mpscRing(), [[11, 12], [21]], false))
  })

  it.each([
    [
      'skips by a plain store',
      'if (Atomics.compareExchange(this.words, sequenceAt, before, (this.#head + 1) | 0) !== before)',
      'if (Atomics.load(this.words, sequenceAt) !== before || !Number.isInteger(Atomics.store(this.words, sequenceAt, (this.#head + 1) | 0)))',
    ],
    [
      'commits by a plain store',
      'return Atomics.compareExchange(this.words, sequenceAt, before, this.#position) === before',
      'return Atomics.store(this.words, sequenceAt, this.#position) === this.#position',
    ],
  ])('finds a ring that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof mpsc>('mpsc-ring.js', from, to)
    expectFound(lateCommitModel(mutant, mpscRing()))
  })
})

describe.each(['futex', 'eventfd'] as const)('every interleaving of the doorbell over %s', (kind) => {
  it('with one waker of two records', () => {
    expectAtLeast(explore(wakeModel(doorbells, kind, [[1, 2]])), 10_000n)
  })

  it('with two wakers', () => {
    expectAtLeast(explore(wakeModel(doorbells, kind, [[1], [2]])), 1_000_000n)
  })

  it('with a stop beside a wake', () => {
    expectAtLeast(explore(stopModel(doorbells, kind)), 1_000_000n)
  })

  it.each([
    ['never signals', 'this.#primitives.signal();\n        return true', 'return true'],
    [
      'signals before it has taken the announcement',
      'if ((Atomics.and(this.#words, this.#index, ~ANNOUNCED) & ANNOUNCED) === 0)',
      'this.#primitives.signal(); Atomics.and(this.#words, this.#index, ~ANNOUNCED); if (true)',
    ],
  ])('finds a doorbell that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof doorbells>('doorbell.js', from, to)
    expectFound(wakeModel(mutant, kind, [[1], [2]]))
  })

  it('finds an owner that does not look once more between announcing and parking', () => {
    expectFound(wakeModel(doorbells, kind, [[1], [2]], 'announce and park at once'))
  })

  it.each([
    [
      'announces by load and store',
      'Atomics.or(this.#words, this.#index, ANNOUNCED)',
      'Atomics.load(this.#words, this.#index) || Atomics.store(this.#words, this.#index, ANNOUNCED)',
    ],
    [
      'forgets a stop when it is woken',
      'Atomics.store(this.#words, this.#index, STOPPED)',
      'Atomics.store(this.#words, this.#index, 0)',
    ],
    ['stops without a signal', 'STOPPED);\n        this.#primitives.signal()', 'STOPPED)'],
  ])('finds a doorbell that %s', async (_what, from, to) => {
    const mutant = await loadMutant<typeof doorbells>('doorbell.js', from, to)
    expectFound(stopModel(mutant, kind))
  })
})

it('finds a futex doorbell that announces again when it parks', async () => {
  // Over an eventfd this is no bug: it remembers the signal.
  const from = 'if (Atomics.load(this.#words, this.#index) === ANNOUNCED)'
  const to = 'Atomics.or(this.#words, this.#index, ANNOUNCED); if (true)'
  const mutant = await loadMutant<typeof doorbells>('doorbell.js', from, to)
  expectFound(wakeModel(mutant, 'futex', [[1], [2]]))
})

it('every interleaving of a wide integer: a reader never goes back and never sees what is not there', () => {
  const words = new Int32Array(3)
  const amounts = [2 ** 31 - 1, 5, 3 * 2 ** 31]
  const sums = [0, 2 ** 31 - 1, 2 ** 31 + 4, 4 * 2 ** 31 + 4]
  const explored = explore({
    words,
    threads: [
      () => {
        const writer = new WideWords(words, 0, 1)
        for (const amount of amounts) writer.add(0, amount)
      },
      () => {
        const reader = new WideWords(words, 0, 1)
        return [reader.read(0), reader.read(0), reader.read(0)]
      },
    ],
    check: ([, readings]) => {
      const values = readings as number[]
      expect(values).toEqual(values.toSorted((a, b) => a - b))
      // A value that it had, or the multiple of 2^31 that a carry steps over.
      for (const value of values) expect([...sums, 2 ** 31, 4 * 2 ** 31]).toContain(value)
      expect(new WideWords(words, 0, 1).read(0)).toBe(sums.at(-1))
    },
  })
  expectAtLeast(explored, 100_000n)
})
