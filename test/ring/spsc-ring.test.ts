import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NO_RECORD, type RingMemory } from '../../src/ring/layout.ts'
import {
  allocateSpscRing,
  formatSpscRing,
  RingConsumer,
  RingProducer,
  spscRingWords,
} from '../../src/ring/spsc-ring.ts'

/** Before slot 0, before the sign changes, and before 2^32 wraps to 0. */
const STARTS = [0, 2 ** 31 - 3, -3]

function ends(ring: RingMemory) {
  return { producer: new RingProducer(ring), consumer: new RingConsumer(ring) }
}

describe.each(STARTS)('spsc ring from position %i', (start) => {
  it.each([1, 2, 8])('of %i records: refuses when full and when empty, and keeps the order', (capacity) => {
    const { producer, consumer } = ends(allocateSpscRing(capacity, 2, start))
    for (let lap = 0; lap < 5; lap++) {
      expect(consumer.peek()).toBe(NO_RECORD)
      expect(consumer.peekBatch(capacity)).toBe(0)
      for (let i = 0; i < capacity; i++) {
        const at = producer.tryClaim()
        expect(producer.tryClaim(), 'a claim without commit takes nothing').toBe(at)
        producer.words[at] = lap
        producer.words[at + 1] = i
        producer.commit()
      }
      expect(producer.tryClaim()).toBe(NO_RECORD)
      expect(producer.tryClaimBatch(1)).toBe(0)
      for (let i = 0; i < capacity; i++) {
        const at = consumer.peek()
        expect([consumer.words[at], consumer.words[at + 1]]).toEqual([lap, i])
        consumer.release()
      }
    }
  })

  it('is a bounded queue under any sequence of single and batch operations', () => {
    const operation = fc.record({
      kind: fc.constantFrom('claim', 'claimBatch', 'peek', 'peekBatch', 'reattach'),
      count: fc.integer({ min: 1, max: 10 }),
      used: fc.integer({ min: 0, max: 10 }),
    })
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8),
        fc.array(operation, { maxLength: 200 }),
        (capacity, operations) => {
          const ring = allocateSpscRing(capacity, 1, start)
          let { producer, consumer } = ends(ring)
          const model: number[] = []
          let next = 1
          for (const { kind, count, used } of operations) {
            if (kind === 'reattach') ({ producer, consumer } = ends(ring))
            if (kind === 'claim') {
              const at = producer.tryClaim()
              expect(at === NO_RECORD).toBe(model.length === capacity)
              if (at === NO_RECORD) continue
              producer.words[at] = next
              model.push(next++)
              producer.commit()
            }
            if (kind === 'claimBatch') {
              const claimed = producer.tryClaimBatch(count)
              expect(claimed).toBeLessThanOrEqual(Math.min(count, capacity - model.length))
              expect(claimed === 0).toBe(model.length === capacity)
              const committed = Math.min(claimed, used)
              for (let i = 0; i < committed; i++) {
                producer.words[producer.claimIndex() + i] = next
                model.push(next++)
              }
              producer.commitBatch(committed)
            }
            if (kind === 'peek') {
              const at = consumer.peek()
              expect(at === NO_RECORD ? undefined : consumer.words[at]).toBe(model[0])
              if (at === NO_RECORD) continue
              model.shift()
              consumer.release()
            }
            if (kind === 'peekBatch') {
              const peeked = consumer.peekBatch(count)
              expect(peeked).toBeLessThanOrEqual(Math.min(count, model.length))
              expect(peeked === 0).toBe(model.length === 0)
              const released = Math.min(peeked, used)
              for (let i = 0; i < released; i++) {
                expect(consumer.words[consumer.peekIndex() + i]).toBe(model.shift())
              }
              consumer.releaseBatch(released)
            }
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})

it('publishes nothing that was claimed and not committed', () => {
  const ring = allocateSpscRing(4, 1)
  const dead = new RingProducer(ring)
  dead.words[dead.tryClaim()] = 99
  expect(new RingConsumer(ring).peek()).toBe(NO_RECORD)
  const { producer, consumer } = ends(ring)
  producer.words[producer.tryClaim()] = 7
  producer.commit()
  expect(consumer.words[consumer.peek()]).toBe(7)
})

it('lies at an offset in memory of any kind, and touches nothing outside it', () => {
  const needed = spscRingWords(4, 3)
  for (const words of [
    new Int32Array(needed + 100),
    new Int32Array(new SharedArrayBuffer(4 * needed + 400), 40),
  ]) {
    words.fill(-7)
    const ring = { words, offset: 33, capacity: 4, recordWords: 3 }
    formatSpscRing(ring)
    const { producer, consumer } = ends(ring)
    for (let i = 0; i < 11; i++) {
      const at = producer.tryClaim()
      words.fill(i, at, at + 3)
      producer.commit()
      expect(consumer.words[consumer.peek() + 2]).toBe(i)
      consumer.release()
    }
    expect(words.subarray(0, 33).every((word) => word === -7)).toBe(true)
    expect(words.subarray(33 + needed).every((word) => word === -7)).toBe(true)
  }
})

it('stays inside its memory when a peer writes nonsense into the control words', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      (tail, head) => {
        const ring = allocateSpscRing(4, 2)
        const { producer, consumer } = ends(ring)
        ring.words[0] = tail
        ring.words[32] = head
        for (const at of [
          consumer.peek(),
          consumer.peekIndex(),
          producer.tryClaim(),
          producer.claimIndex(),
        ]) {
          expect(at === NO_RECORD || (at >= 64 && at <= 64 + 3 * 2)).toBe(true)
        }
        expect(consumer.peekBatch(100)).toBeLessThanOrEqual(4)
        expect(producer.tryClaimBatch(100)).toBeLessThanOrEqual(4)
      },
    ),
  )
})

it.each([
  [0, 1],
  [3, 1],
  [2 ** 31, 1],
  [Number.NaN, 1],
  [1.5, 1],
  [4, 0],
  [4, 1.5],
])('refuses a capacity of %d and records of %d words', (capacity, recordWords) => {
  expect(() => allocateSpscRing(capacity, recordWords)).toThrow(RangeError)
})

it('refuses memory that is too small', () => {
  const words = new Int32Array(spscRingWords(4, 2))
  expect(() => new RingProducer({ words, offset: 1, capacity: 4, recordWords: 2 })).toThrow(/does not fit/)
  expect(() => new RingConsumer({ words, offset: -1, capacity: 4, recordWords: 2 })).toThrow(/does not fit/)
})
