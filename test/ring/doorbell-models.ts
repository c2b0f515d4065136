/** Threads that sleep on a doorbell, for the explorer: the class is handed in, so that broken ones can be explored too. */
import { expect } from 'vitest'
import type * as doorbells from '../../src/ring/doorbell.ts'
import { NO_RECORD, type RingMemory } from '../../src/ring/layout.ts'
import { formatMpscRing, MpscConsumer, MpscProducer, mpscRingWords } from '../../src/ring/mpsc-ring.ts'
import { type Model, plain } from './explorer.ts'
import { sendEach } from './ring-models.ts'

const BELL = 0
const EVENT_FD = 1
const RING_AT = 32

type Doorbells = Pick<typeof doorbells, 'Doorbell' | 'futexPrimitives'>

export type Kind = 'futex' | 'eventfd'

/** The kernel's part of an eventfd under poll, in one word: how much was written, and a sleep that ends when it is not 0. */
function eventFdPrimitives(words: Int32Array): doorbells.DoorbellPrimitives {
  return {
    signal: () => {
      Atomics.store(words, EVENT_FD, 1)
      Atomics.notify(words, EVENT_FD)
    },
    sleep: (ms) => {
      expect(ms).toBeLessThanOrEqual(100)
      Atomics.wait(words, EVENT_FD, 0)
      Atomics.store(words, EVENT_FD, 0)
    },
  }
}

function open({ Doorbell, futexPrimitives }: Doorbells, kind: Kind, words: Int32Array): doorbells.Doorbell {
  return new Doorbell(words, BELL, kind === 'futex' ? futexPrimitives(words, BELL) : eventFdPrimitives(words))
}

function memory(): RingMemory {
  const words = new Int32Array(new SharedArrayBuffer(4 * (RING_AT + mpscRingWords(2, 1))))
  const ring = { words, offset: RING_AT, capacity: 2, recordWords: 1 }
  formatMpscRing(ring)
  return ring
}

/** How the owner waits: as every agent does, or wrongly. */
export type Waiting = 'announce, look, park' | 'announce and park at once'

/** Receives, and waits after idle turns. Ends when `isDone`. */
function waitAndReceive(
  ring: RingMemory,
  doorbell: doorbells.Doorbell,
  waiting: Waiting,
  isDone: (count: number) => boolean,
): number[] {
  const consumer = new MpscConsumer(ring)
  const received: number[] = []
  let idleTurns = 0
  while (!isDone(received.length)) {
    const at = consumer.peek()
    if (at !== NO_RECORD) {
      received.push(plain.read(ring.words, at))
      consumer.release()
    }
    idleTurns = at === NO_RECORD ? idleTurns + 1 : 0
    if (idleTurns === 1) doorbell.announce()
    if (idleTurns > 1 || (idleTurns === 1 && waiting === 'announce and park at once')) {
      doorbell.park(60_000)
      idleTurns = 0
    }
  }
  return received
}

/** Several threads publish and wake; the owner gets everything, or sleeps for ever: a deadlock of the model. */
export function wakeModel(
  shipped: Doorbells,
  kind: Kind,
  sends: readonly (readonly number[])[],
  waiting: Waiting = 'announce, look, park',
): Model {
  const ring = memory()
  const expected = sends.flat().length
  return {
    words: ring.words,
    threads: [
      () => waitAndReceive(ring, open(shipped, kind, ring.words), waiting, (count) => count === expected),
      ...sends.map((values) => () => {
        const producer = new MpscProducer(ring)
        const doorbell = open(shipped, kind, ring.words)
        for (const value of values) {
          if (sendEach(producer, [value], 1).length === 0) throw new Error('the ring was meant to hold all')
          doorbell.wake()
        }
      }),
    ],
    check: ([received]) => expect((received as number[]).toSorted()).toEqual(sends.flat().toSorted()),
  }
}

/** One thread stops the owner while another wakes it: it ends, in whatever step it was. */
export function stopModel(shipped: Doorbells, kind: Kind): Model {
  const ring = memory()
  return {
    words: ring.words,
    threads: [
      () => {
        const doorbell = open(shipped, kind, ring.words)
        return waitAndReceive(ring, doorbell, 'announce, look, park', () => doorbell.isStopped())
      },
      () => open(shipped, kind, ring.words).stop(),
      () => {
        sendEach(new MpscProducer(ring), [1], 1)
        open(shipped, kind, ring.words).wake()
      },
    ],
    check: () => expect(open(shipped, kind, ring.words).isStopped()).toBe(true),
  }
}
