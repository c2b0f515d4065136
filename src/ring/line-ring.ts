/**
 * A ring for records that are waited for one by one: each record is whole cache lines and says in its own first
 * line that it is there. What a waiting thread looks at is then what it needs, and a hop from thread to thread moves
 * one line, where a ring with a tail moves the tail's and the record's. For streams of small records the other way
 * round is better: spsc-ring.ts. One producer, one consumer, no locks.
 *
 * Always holds: a record's sequence word says position + 1 from its commit until the producer writes a record into
 * that slot again, which it does only when the head has passed it. All else is of earlier laps, so a sequence never
 * has to be taken back. A producer that dies between claim and commit has published nothing.
 */
import { addressOf } from '../native/libc.ts'
import { checkCapacity, checkRing, HEAD, LINE_WORDS, NO_RECORD, type RingMemory } from './layout.ts'

/** What processors exchange: 64 bytes. */
const CACHE_LINE_WORDS = 16
/** Of each record: the last word of its first line. The record's owner has the words before it and after it. */
export const SEQUENCE = CACHE_LINE_WORDS - 1
/** Next position to read, written by the consumer only; the lines before it are not used. */
const CONTROL_WORDS = HEAD + LINE_WORDS

/** Words that a ring takes in shared memory. */
export function lineRingWords(capacity: number, recordWords: number): number {
  checkCapacity(capacity, recordWords)
  if (recordWords % CACHE_LINE_WORDS !== 0)
    throw new RangeError(`ring record of ${recordWords} words: expected whole lines of ${CACHE_LINE_WORDS}`)
  return CONTROL_WORDS + capacity * recordWords
}

/**
 * An empty ring in a SharedArrayBuffer of its own, with `extraWords` behind it for its user.
 * It begins where a pair of cache lines begins, which the engine does not promise of a buffer.
 */
export function allocateLineRing(
  capacity: number,
  recordWords: number,
  extraWords = 0,
  startPosition = 0,
): RingMemory {
  const wordsNeeded = lineRingWords(capacity, recordWords) + extraWords
  const words = new Int32Array(new SharedArrayBuffer(4 * (wordsNeeded + LINE_WORDS)))
  const lineBytes = 4 * LINE_WORDS
  const offset = ((lineBytes - (addressOf(words) % lineBytes)) % lineBytes) / 4
  const ring = { words, offset, capacity, recordWords }
  formatLineRing(ring, startPosition)
  return ring
}

/** Makes the memory an empty ring; before either end is built. Memory that is all zero already is one. */
export function formatLineRing(ring: RingMemory, startPosition = 0): void {
  checkRing(ring, lineRingWords(ring.capacity, ring.recordWords))
  Atomics.store(ring.words, ring.offset + HEAD, startPosition | 0)
  for (let i = 0; i < ring.capacity; i++) {
    const slot = (startPosition + i) & (ring.capacity - 1)
    const sequenceAt = ring.offset + CONTROL_WORDS + slot * ring.recordWords + SEQUENCE
    Atomics.store(ring.words, sequenceAt, (startPosition + i + 1 - ring.capacity) | 0) // As one lap ago.
  }
}

/** The writing end. */
export class LineProducer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #headAt: number
  readonly #recordsAt: number
  #tail: number //     Ours alone; what has been published is what the sequences say.
  #headSeen: number // Stale is safe: the ring can only seem fuller than it is.

  constructor(ring: RingMemory) {
    checkRing(ring, lineRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#headAt = ring.offset + HEAD
    this.#recordsAt = ring.offset + CONTROL_WORDS
    this.#headSeen = Atomics.load(this.words, this.#headAt)
    // Another producer was here before: go on behind what it has published.
    this.#tail = this.#headSeen
    while (((this.#tail - this.#headSeen) | 0) <= this.#mask && this.#isPublished()) {
      this.#tail = (this.#tail + 1) | 0
    }
  }

  /** Index in `words` of a free record, ours until commit(); NO_RECORD when the ring is full. */
  tryClaim(): number {
    if (((this.#tail - this.#headSeen) | 0) > this.#mask) {
      this.#headSeen = Atomics.load(this.words, this.#headAt) // Pairs with LineConsumer.release().
      if (((this.#tail - this.#headSeen) | 0) > this.#mask) return NO_RECORD
    }
    return this.#recordsAt + (this.#tail & this.#mask) * this.recordWords
  }

  /** Publishes the record; pairs with the load in LineConsumer.peek(). */
  commit(): void {
    const sequenceAt = this.#recordsAt + (this.#tail & this.#mask) * this.recordWords + SEQUENCE
    this.#tail = (this.#tail + 1) | 0
    Atomics.store(this.words, sequenceAt, this.#tail)
  }

  #isPublished(): boolean {
    const sequenceAt = this.#recordsAt + (this.#tail & this.#mask) * this.recordWords + SEQUENCE
    return Atomics.load(this.words, sequenceAt) === ((this.#tail + 1) | 0)
  }
}

/** The reading end. */
export class LineConsumer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #headAt: number
  readonly #recordsAt: number
  #head: number // Ours alone, hence no atomic load.

  constructor(ring: RingMemory) {
    checkRing(ring, lineRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#headAt = ring.offset + HEAD
    this.#recordsAt = ring.offset + CONTROL_WORDS
    this.#head = Atomics.load(this.words, this.#headAt)
  }

  /** Index in `words` of the oldest record, ours until release(); NO_RECORD when the ring is empty. */
  peek(): number {
    const at = this.#recordsAt + (this.#head & this.#mask) * this.recordWords
    // Pairs with LineProducer.commit().
    if (Atomics.load(this.words, at + SEQUENCE) !== ((this.#head + 1) | 0)) return NO_RECORD
    return at
  }

  /** Gives the record back; pairs with the load in LineProducer.tryClaim(). */
  release(): void {
    this.#head = (this.#head + 1) | 0
    Atomics.store(this.words, this.#headAt, this.#head)
  }
}
