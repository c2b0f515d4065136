/** Small rings with their threads, for the explorer: the classes are handed in, so that broken ones can be explored too. */
import { expect } from 'vitest'
import { NO_RECORD, type RingMemory } from '../../src/ring/layout.ts'
import type * as line from '../../src/ring/line-ring.ts'
import type * as mpsc from '../../src/ring/mpsc-ring.ts'
import type * as spsc from '../../src/ring/spsc-ring.ts'
import { type Model, plain } from './explorer.ts'

/** What a consumer leaves in a record that it gives back: reading it means reading what nobody wrote. */
const CANARY = -99

interface Producer {
  readonly words: Int32Array
  tryClaim(): number
  commit(): unknown
}

interface BatchProducer extends Producer {
  tryClaimBatch(countMax: number): number
  claimIndex(): number
  commitBatch(count: number): unknown
}

interface Consumer {
  readonly words: Int32Array
  peek(): number
  release(): void
}

interface BatchConsumer extends Consumer {
  peekBatch(countMax: number): number
  peekIndex(): number
  releaseBatch(count: number): void
}

/** Sends the values in order, each with so many attempts; what it could not send ends it. Returns what it sent. */
export function sendEach(producer: Producer, values: readonly number[], attemptsMax: number): number[] {
  const sent: number[] = []
  for (const value of values) {
    let at = NO_RECORD
    for (let attempt = 0; attempt < attemptsMax && at === NO_RECORD; attempt++) at = producer.tryClaim()
    if (at === NO_RECORD) return sent
    plain.write(producer.words, at, value)
    producer.commit()
    sent.push(value)
  }
  return sent
}

export function sendBatches(
  producer: BatchProducer,
  values: readonly number[],
  attemptsMax: number,
): number[] {
  let sent = 0
  for (let attempt = 0; attempt < attemptsMax && sent < values.length; attempt++) {
    const claimed = producer.tryClaimBatch(values.length - sent)
    for (let i = 0; i < claimed; i++)
      plain.write(producer.words, producer.claimIndex() + i, values[sent + i]!)
    producer.commitBatch(claimed)
    sent += claimed
  }
  return values.slice(0, sent)
}

export function receiveEach(consumer: Consumer, attemptsMax: number): number[] {
  const received: number[] = []
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const at = consumer.peek()
    if (at === NO_RECORD) continue
    received.push(plain.read(consumer.words, at))
    plain.write(consumer.words, at, CANARY)
    consumer.release()
  }
  return received
}

export function receiveBatches(consumer: BatchConsumer, attemptsMax: number, countMax: number): number[] {
  const received: number[] = []
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const peeked = consumer.peekBatch(countMax)
    for (let i = 0; i < peeked; i++) {
      received.push(plain.read(consumer.words, consumer.peekIndex() + i))
      plain.write(consumer.words, consumer.peekIndex() + i, CANARY)
    }
    consumer.releaseBatch(peeked)
  }
  return received
}

/** Every value sent arrives once, in its sender's order, and nothing else does; what is left in the ring counts. */
function checkArrival(sent: readonly number[][], received: readonly number[], rest: readonly number[]): void {
  const arrived = [...received, ...rest]
  for (const values of sent) expect(arrived.filter((value) => values.includes(value))).toEqual(values)
  expect(arrived.length).toBe(sent.flat().length)
}

export function spscModel(
  { RingProducer, RingConsumer }: Pick<typeof spsc, 'RingProducer' | 'RingConsumer'>,
  ring: RingMemory,
  isBatch: boolean,
): Model {
  return {
    words: ring.words,
    threads: isBatch
      ? [
          () => sendBatches(new RingProducer(ring), [1, 2, 3, 4, 5], 4),
          () => receiveBatches(new RingConsumer(ring), 4, 2),
        ]
      : [
          () => sendEach(new RingProducer(ring), [1, 2, 3, 4], 3),
          () => receiveEach(new RingConsumer(ring), 6),
        ],
    check: ([sent, received]) => {
      const rest = receiveEach(new RingConsumer(ring), 2)
      checkArrival([sent as number[]], received as number[], rest)
    },
  }
}

export function lineModel(
  { LineProducer, LineConsumer }: Pick<typeof line, 'LineProducer' | 'LineConsumer'>,
  ring: RingMemory,
): Model {
  return {
    words: ring.words,
    threads: [
      () => sendEach(new LineProducer(ring), [1, 2, 3, 4], 3),
      () => receiveEach(new LineConsumer(ring), 6),
    ],
    check: ([sent, received]) => {
      const rest = receiveEach(new LineConsumer(ring), 2)
      checkArrival([sent as number[]], received as number[], rest)
    },
  }
}

/** A producer dies between claim and commit; who takes its place goes on behind what it has published. */
export function successorModel(
  { LineProducer, LineConsumer }: Pick<typeof line, 'LineProducer' | 'LineConsumer'>,
  ring: RingMemory,
): Model {
  return {
    words: ring.words,
    threads: [
      () => {
        const dead = new LineProducer(ring)
        const sent = sendEach(dead, [1, 2], 2)
        const at = dead.tryClaim()
        if (at !== NO_RECORD) plain.write(dead.words, at, 666)
        return [...sent, ...sendEach(new LineProducer(ring), [3], 2)]
      },
      () => receiveEach(new LineConsumer(ring), 5),
    ],
    check: ([sent, received]) => {
      const rest = receiveEach(new LineConsumer(ring), 2)
      checkArrival([sent as number[]], received as number[], rest)
    },
  }
}

export function mpscModel(
  { MpscProducer, MpscConsumer }: Pick<typeof mpsc, 'MpscProducer' | 'MpscConsumer'>,
  ring: RingMemory,
  sends: readonly (readonly number[])[],
  isBatch: boolean,
): Model {
  const send = isBatch ? sendBatches : sendEach
  return {
    words: ring.words,
    threads: [
      ...sends.map((values) => () => send(new MpscProducer(ring), values, 2)),
      () => (isBatch ? receiveBatches(new MpscConsumer(ring), 3, 2) : receiveEach(new MpscConsumer(ring), 4)),
    ],
    check: (results) => {
      const rest = receiveEach(new MpscConsumer(ring), 2)
      checkArrival(results.slice(0, -1) as number[][], results.at(-1) as number[], rest)
    },
  }
}

/** A producer dies between claim and commit while another sends; the consumer steps over what it left. */
export function deathModel(
  { MpscProducer, MpscConsumer }: Pick<typeof mpsc, 'MpscProducer' | 'MpscConsumer'>,
  ring: RingMemory,
): Model {
  return {
    words: ring.words,
    threads: [
      // Writes one record whole, then dies in the middle of the second.
      () => {
        const producer = new MpscProducer(ring)
        const sent = sendEach(producer, [11], 2)
        const at = producer.tryClaim()
        if (at !== NO_RECORD) plain.write(producer.words, at, 666)
        return sent
      },
      () => sendEach(new MpscProducer(ring), [21], 2),
      () => receiveEach(new MpscConsumer(ring), 4),
    ],
    check: (results) => {
      const consumer = new MpscConsumer(ring)
      const rest = receiveEach(consumer, 2)
      while (consumer.skipUncommitted()) rest.push(...receiveEach(consumer, 2))
      checkArrival(results.slice(0, -1) as number[][], results.at(-1) as number[], rest)
      expect(consumer.skipUncommitted(), 'nothing may be left').toBe(false)

      const producer = new MpscProducer(ring)
      expect(sendEach(producer, [31, 32], 1), 'the ring works on').toEqual([31, 32])
      expect(receiveEach(consumer, 2)).toEqual([31, 32])
    },
  }
}

/** The consumer gives a producer up for dead that is only slow: exactly one of them gets its way. */
export function lateCommitModel(
  { MpscProducer, MpscConsumer }: Pick<typeof mpsc, 'MpscProducer' | 'MpscConsumer'>,
  ring: RingMemory,
): Model {
  return {
    words: ring.words,
    threads: [
      () => {
        const producer = new MpscProducer(ring)
        const at = producer.tryClaim()
        if (at === NO_RECORD) return 'refused'
        plain.write(producer.words, at, 11)
        return producer.commit() ? 'committed' : 'late'
      },
      () => {
        const consumer = new MpscConsumer(ring)
        return consumer.skipUncommitted() ? 'skipped' : receiveEach(consumer, 1)
      },
    ],
    check: ([producer, consumer]) => {
      expect(producer).toBe(consumer === 'skipped' ? 'late' : 'committed')
      const rest = receiveEach(new MpscConsumer(ring), 2)
      if (consumer === 'skipped') expect(rest).toEqual([])
      else expect([...(consumer as number[]), ...rest]).toEqual([11])
    },
  }
}
