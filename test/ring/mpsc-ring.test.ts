import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NO_RECORD } from '../../src/ring/layout.ts'
import {
  allocateMpscRing,
  formatMpscRing,
  MpscConsumer,
  MpscProducer,
  mpscRingWords,
} from '../../src/ring/mpsc-ring.ts'

const STARTS = [0, 2 ** 31 - 3, -3]

describe.each(STARTS)('mpsc ring from position %i', (start) => {
  it.each([1, 2, 8])('of %i records: refuses when full and when empty, and keeps the order', (capacity) => {
    const ring = allocateMpscRing(capacity, 2, start)
    const producers = [new MpscProducer(ring), new MpscProducer(ring)]
    const consumer = new MpscConsumer(ring)
    for (let lap = 0; lap < 5; lap++) {
      expect(consumer.peek()).toBe(NO_RECORD)
      for (let i = 0; i < capacity; i++) {
        const producer = producers[i % 2]!
        const at = producer.tryClaim()
        producer.words[at] = lap
        producer.words[at + 1] = i
        expect(producer.commit()).toBe(true)
      }
      for (const producer of producers) expect(producer.tryClaim()).toBe(NO_RECORD)
      for (let i = 0; i < capacity; i++) {
        const at = consumer.peek()
        expect([consumer.words[at], consumer.words[at + 1]]).toEqual([lap, i])
        consumer.release()
      }
    }
  })

  it('is a bounded queue in the order of the claims, read as far as all are committed', () => {
    const operation = fc.record({
      kind: fc.constantFrom('claim', 'commit', 'peek'),
      who: fc.integer({ min: 0, max: 2 }),
      count: fc.integer({ min: 1, max: 5 }),
    })
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8),
        fc.array(operation, { maxLength: 200 }),
        (capacity, operations) => {
          const ring = allocateMpscRing(capacity, 1, start)
          const producers = [0, 1, 2].map(() => new MpscProducer(ring))
          const consumer = new MpscConsumer(ring)
          const model: { who: number; value: number; isCommitted: boolean }[] = []
          let next = 1
          for (const { kind, who, count } of operations) {
            const producer = producers[who]!
            const open = model.filter((record) => record.who === who && !record.isCommitted)
            if (kind === 'claim' && open.length === 0) {
              const claimed = producer.tryClaimBatch(count)
              expect(claimed).toBeLessThanOrEqual(Math.min(count, capacity - model.length))
              expect(claimed === 0).toBe(model.length === capacity)
              for (let i = 0; i < claimed; i++) {
                producer.words[producer.claimIndex() + i] = next
                model.push({ who, value: next++, isCommitted: false })
              }
            }
            if (kind === 'commit' && open.length > 0) {
              const committing = open.slice(0, count)
              expect(producer.commitBatch(committing.length)).toBe(committing.length)
              for (const record of committing) record.isCommitted = true
            }
            if (kind === 'peek') {
              const uncommitted = model.findIndex((record) => !record.isCommitted)
              const readable = uncommitted === -1 ? model.length : uncommitted
              const peeked = consumer.peekBatch(count)
              expect(peeked).toBeLessThanOrEqual(Math.min(count, readable))
              expect(peeked === 0).toBe(readable === 0)
              for (let i = 0; i < peeked; i++) {
                expect(consumer.words[consumer.peekIndex() + i]).toBe(model.shift()!.value)
              }
              consumer.releaseBatch(peeked)
            }
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  it('stops before the record of a dead producer, is full after it, and goes on once it is skipped', () => {
    const ring = allocateMpscRing(4, 1, start)
    const [dead, alive] = [new MpscProducer(ring), new MpscProducer(ring)]
    const consumer = new MpscConsumer(ring)
    expect(consumer.skipUncommitted(), 'nothing is claimed').toBe(false)
    dead.words[dead.tryClaim()] = 666
    for (let i = 0; i < 3; i++) {
      alive.words[alive.tryClaim()] = i
      alive.commit()
    }
    expect(alive.tryClaim()).toBe(NO_RECORD)
    expect(consumer.peek()).toBe(NO_RECORD)

    expect(consumer.skipUncommitted()).toBe(true)
    expect(dead.commit(), 'a commit that comes too late').toBe(false)
    expect(consumer.skipUncommitted(), 'this one is committed').toBe(false)
    for (let i = 0; i < 3; i++) {
      expect(consumer.words[consumer.peek()]).toBe(i)
      consumer.release()
    }
    expect(consumer.peek()).toBe(NO_RECORD)
    for (let i = 0; i < 8; i++) {
      alive.words[alive.tryClaim()] = i
      alive.commit()
      expect(consumer.words[consumer.peek()]).toBe(i)
      consumer.release()
    }
  })
})

it('lies at an offset and touches nothing outside it', () => {
  const needed = mpscRingWords(4, 3)
  const words = new Int32Array(needed + 100).fill(-7)
  const ring = { words, offset: 32, capacity: 4, recordWords: 3 }
  formatMpscRing(ring)
  const [producer, consumer] = [new MpscProducer(ring), new MpscConsumer(ring)]
  for (let i = 0; i < 11; i++) {
    const at = producer.tryClaim()
    words.fill(i, at, at + 3)
    producer.commit()
    expect(consumer.words[consumer.peek() + 2]).toBe(i)
    consumer.release()
  }
  expect(words.subarray(0, 32).every((word) => word === -7)).toBe(true)
  expect(words.subarray(32 + needed).every((word) => word === -7)).toBe(true)
})

it('refuses a capacity that is no power of two, and memory that is too small', () => {
  expect(() => allocateMpscRing(3, 1)).toThrow(RangeError)
  const words = new Int32Array(mpscRingWords(4, 2) - 1)
  expect(() => new MpscProducer({ words, offset: 0, capacity: 4, recordWords: 2 })).toThrow(/does not fit/)
  expect(() => new MpscConsumer({ words, offset: 0, capacity: 4, recordWords: 2 })).toThrow(/does not fit/)
})
