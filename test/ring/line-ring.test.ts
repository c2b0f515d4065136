import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addressOf } from '../../src/native/libc.ts'
import { NO_RECORD, type RingMemory } from '../../src/ring/layout.ts'
import {
  allocateLineRing,
  formatLineRing,
  LineConsumer,
  LineProducer,
  lineRingWords,
  SEQUENCE,
} from '../../src/ring/line-ring.ts'

/** Before slot 0, before the sign changes, and before 2^32 wraps to 0. */
const STARTS = [0, 2 ** 31 - 3, -3]
const RECORD = 16

function ends(ring: RingMemory) {
  return { producer: new LineProducer(ring), consumer: new LineConsumer(ring) }
}

describe.each(STARTS)('line ring from position %i', (start) => {
  it.each([1, 2, 8])('of %i records: refuses when full and when empty, and keeps the order', (capacity) => {
    const { producer, consumer } = ends(allocateLineRing(capacity, 2 * RECORD, 0, start))
    for (let lap = 0; lap < 5; lap++) {
      expect(consumer.peek()).toBe(NO_RECORD)
      for (let i = 0; i < capacity; i++) {
        const at = producer.tryClaim()
        expect(producer.tryClaim(), 'a claim without commit takes nothing').toBe(at)
        producer.words.fill(lap, at, at + SEQUENCE)
        producer.words.fill(i, at + SEQUENCE + 1, at + 2 * RECORD)
        producer.commit()
      }
      expect(producer.tryClaim()).toBe(NO_RECORD)
      for (let i = 0; i < capacity; i++) {
        const at = consumer.peek()
        expect([...consumer.words.subarray(at, at + SEQUENCE)]).toEqual(Array(SEQUENCE).fill(lap))
        expect([...consumer.words.subarray(at + SEQUENCE + 1, at + 2 * RECORD)]).toEqual(Array(16).fill(i))
        consumer.release()
      }
    }
  })

  it('is a bounded queue under any sequence of operations', () => {
    const operation = fc.constantFrom('send', 'claim', 'receive', 'peek', 'producer anew', 'consumer anew')
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8),
        fc.array(operation, { maxLength: 200 }),
        (capacity, operations) => {
          const ring = allocateLineRing(capacity, RECORD, 0, start)
          let { producer, consumer } = ends(ring)
          const model: number[] = []
          let next = 1
          for (const what of operations) {
            if (what === 'producer anew') producer = new LineProducer(ring)
            if (what === 'consumer anew') consumer = new LineConsumer(ring)
            if (what === 'send' || what === 'claim') {
              const at = producer.tryClaim()
              expect(at === NO_RECORD).toBe(model.length === capacity)
              if (at === NO_RECORD) continue
              producer.words[at] = next
              if (what === 'claim') continue // Given up: nothing has been published.
              model.push(next++)
              producer.commit()
            }
            if (what === 'receive' || what === 'peek') {
              const at = consumer.peek()
              expect(at === NO_RECORD ? undefined : consumer.words[at]).toBe(model[0])
              if (at === NO_RECORD || what === 'peek') continue
              model.shift()
              consumer.release()
            }
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})

it('lies at an offset in memory of any kind, and touches nothing outside it', () => {
  const needed = lineRingWords(4, RECORD)
  for (const words of [
    new Int32Array(needed + 100),
    new Int32Array(new SharedArrayBuffer(4 * needed + 400), 40),
  ]) {
    words.fill(-7)
    const ring = { words, offset: 33, capacity: 4, recordWords: RECORD }
    formatLineRing(ring)
    const { producer, consumer } = ends(ring)
    for (let i = 0; i < 11; i++) {
      const at = producer.tryClaim()
      words.fill(i, at, at + SEQUENCE)
      producer.commit()
      expect(consumer.words[consumer.peek() + 2]).toBe(i)
      consumer.release()
    }
    expect(words.subarray(0, 33).every((word) => word === -7)).toBe(true)
    expect(words.subarray(33 + needed).every((word) => word === -7)).toBe(true)
  }
})

it('begins at a pair of cache lines, with what its user wants behind it', () => {
  for (let i = 0; i < 20; i++) {
    const { words, offset } = allocateLineRing(2, RECORD, 7)
    expect((addressOf(words) + 4 * offset) % 128).toBe(0)
    expect(words.length).toBeGreaterThanOrEqual(offset + lineRingWords(2, RECORD) + 7)
  }
})

it('memory that is all zero is an empty ring', () => {
  const words = new Int32Array(lineRingWords(4, RECORD))
  const { producer, consumer } = ends({ words, offset: 0, capacity: 4, recordWords: RECORD })
  expect(consumer.peek()).toBe(NO_RECORD)
  producer.words[producer.tryClaim()] = 5
  producer.commit()
  expect(consumer.words[consumer.peek()]).toBe(5)
})

it('stays inside its memory when a peer writes nonsense into the head and the sequences', () => {
  const nonsense = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
  fc.assert(
    fc.property(nonsense, nonsense, (head, sequence) => {
      const ring = allocateLineRing(4, RECORD)
      const first = new LineConsumer(ring)
      const { producer, consumer } = ends(ring)
      ring.words[ring.offset + 32] = head
      for (let at = ring.offset + 64; at < ring.offset + 128; at += RECORD)
        ring.words[at + SEQUENCE] = sequence
      const late = ends(ring)
      for (const at of [
        consumer.peek(),
        first.peek(),
        late.consumer.peek(),
        producer.tryClaim(),
        late.producer.tryClaim(),
      ]) {
        const record = (at - ring.offset - 64) / RECORD
        expect(at === NO_RECORD || (record >= 0 && record < 4 && Number.isInteger(record))).toBe(true)
      }
    }),
  )
})

it.each([
  [0, 16],
  [3, 16],
  [Number.NaN, 16],
  [4, 0],
  [4, 15],
  [4, 24],
])('refuses a capacity of %d and records of %d words', (capacity, recordWords) => {
  expect(() => allocateLineRing(capacity, recordWords)).toThrow(RangeError)
})

it('refuses memory that is too small', () => {
  const words = new Int32Array(lineRingWords(4, RECORD))
  expect(() => new LineProducer({ words, offset: 1, capacity: 4, recordWords: RECORD })).toThrow(/not fit/)
  expect(() => new LineConsumer({ words, offset: -1, capacity: 4, recordWords: RECORD })).toThrow(/not fit/)
})
