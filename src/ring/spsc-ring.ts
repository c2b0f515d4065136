/**
 * A ring of fixed-size records between one producer and one consumer, without locks.
 *
 * Always holds: head ≤ tail ≤ head + capacity; records from head to tail belong to the consumer, the others to
 * the producer. A producer that dies between claim and commit has published nothing.
 */
import { CONTROL_WORDS, checkCapacity, checkRing, HEAD, NO_RECORD, type RingMemory, TAIL } from './layout.ts'

/** Words that a ring takes in shared memory. */
export function spscRingWords(capacity: number, recordWords: number): number {
  checkCapacity(capacity, recordWords)
  return CONTROL_WORDS + capacity * recordWords
}

/** A ring in a SharedArrayBuffer of its own. */
export function allocateSpscRing(capacity: number, recordWords: number, startPosition = 0): RingMemory {
  const words = new Int32Array(new SharedArrayBuffer(4 * spscRingWords(capacity, recordWords)))
  const ring = { words, offset: 0, capacity, recordWords }
  formatSpscRing(ring, startPosition)
  return ring
}

/** Makes the memory an empty ring; before either end is built. Memory that is all zero already is one. */
export function formatSpscRing(ring: RingMemory, startPosition = 0): void {
  checkRing(ring, spscRingWords(ring.capacity, ring.recordWords))
  Atomics.store(ring.words, ring.offset + HEAD, startPosition | 0)
  Atomics.store(ring.words, ring.offset + TAIL, startPosition | 0)
}

/** The writing end. `(tail - head) | 0` is the occupancy even across the 2^32 wrap, and no slot is spent to tell full from empty. */
export class RingProducer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #tailAt: number
  readonly #headAt: number
  readonly #recordsAt: number
  #tail: number //     Ours alone, hence no atomic load.
  #headSeen: number // Stale is safe: the ring can only seem fuller than it is.

  constructor(ring: RingMemory) {
    checkRing(ring, spscRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#tailAt = ring.offset + TAIL
    this.#headAt = ring.offset + HEAD
    this.#recordsAt = ring.offset + CONTROL_WORDS
    this.#tail = Atomics.load(this.words, this.#tailAt)
    this.#headSeen = Atomics.load(this.words, this.#headAt)
  }

  /** Index in `words` of a free record, ours until commit(); NO_RECORD when the ring is full. */
  tryClaim(): number {
    if (((this.#tail - this.#headSeen) | 0) > this.#mask) {
      this.#headSeen = Atomics.load(this.words, this.#headAt) // Pairs with RingConsumer.releaseBatch().
      if (((this.#tail - this.#headSeen) | 0) > this.#mask) return NO_RECORD
    }
    return this.#recordsAt + (this.#tail & this.#mask) * this.recordWords
  }

  /**
   * How many free records lie one behind the other from claimIndex() on: at most `countMax`, 0 when the ring
   * is full. Fewer than are free where the ring's memory ends: the rest comes with the next call.
   */
  tryClaimBatch(countMax: number): number {
    let free = this.capacity - ((this.#tail - this.#headSeen) | 0)
    if (free < countMax) {
      this.#headSeen = Atomics.load(this.words, this.#headAt) // Pairs with RingConsumer.releaseBatch().
      free = this.capacity - ((this.#tail - this.#headSeen) | 0)
    }
    return Math.max(0, Math.min(free, countMax, this.capacity - (this.#tail & this.#mask)))
  }

  /** Index in `words` of the first record that the last tryClaim() or tryClaimBatch() gave. */
  claimIndex(): number {
    return this.#recordsAt + (this.#tail & this.#mask) * this.recordWords
  }

  /** Publishes the record; pairs with the load in RingConsumer.peek(). */
  commit(): void {
    this.#tail = (this.#tail + 1) | 0
    Atomics.store(this.words, this.#tailAt, this.#tail)
  }

  /** Publishes the first `count` records of the last batch; what was claimed beyond them stays free. */
  commitBatch(count: number): void {
    this.#tail = (this.#tail + count) | 0
    Atomics.store(this.words, this.#tailAt, this.#tail)
  }
}

/** The reading end. */
export class RingConsumer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #tailAt: number
  readonly #headAt: number
  readonly #recordsAt: number
  #head: number //     Ours alone, hence no atomic load.
  #tailSeen: number // Stale is safe: the ring can only seem emptier than it is.

  constructor(ring: RingMemory) {
    checkRing(ring, spscRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#tailAt = ring.offset + TAIL
    this.#headAt = ring.offset + HEAD
    this.#recordsAt = ring.offset + CONTROL_WORDS
    this.#head = Atomics.load(this.words, this.#headAt)
    this.#tailSeen = Atomics.load(this.words, this.#tailAt)
  }

  /** Index in `words` of the oldest record, ours until release(); NO_RECORD when the ring is empty. */
  peek(): number {
    if (this.#head === this.#tailSeen) {
      this.#tailSeen = Atomics.load(this.words, this.#tailAt) // Pairs with RingProducer.commit().
      if (this.#head === this.#tailSeen) return NO_RECORD
    }
    return this.#recordsAt + (this.#head & this.#mask) * this.recordWords
  }

  /** How many records lie one behind the other from peekIndex() on: at most `countMax`, 0 when the ring is empty. */
  peekBatch(countMax: number): number {
    let ready = (this.#tailSeen - this.#head) | 0
    if (ready < countMax) {
      this.#tailSeen = Atomics.load(this.words, this.#tailAt) // Pairs with RingProducer.commitBatch().
      ready = (this.#tailSeen - this.#head) | 0
    }
    return Math.max(0, Math.min(ready, countMax, this.capacity - (this.#head & this.#mask)))
  }

  /** Index in `words` of the first record that the last peek() or peekBatch() gave. */
  peekIndex(): number {
    return this.#recordsAt + (this.#head & this.#mask) * this.recordWords
  }

  /** Gives the record back; pairs with the load in RingProducer.tryClaim(). */
  release(): void {
    this.#head = (this.#head + 1) | 0
    Atomics.store(this.words, this.#headAt, this.#head)
  }

  /** Gives back the first `count` records of the last batch. */
  releaseBatch(count: number): void {
    this.#head = (this.#head + count) | 0
    Atomics.store(this.words, this.#headAt, this.#head)
  }
}
