/**
 * A ring of fixed-size records from many producers to one consumer, without locks. Producers claim by one
 * compare-exchange on the tail; each record is then published on its own through its slot's sequence word, so
 * a slow producer holds nobody up from writing, only the consumer from reading past it.
 *
 * Always holds: a slot's sequence word is 1 + the position of the last record committed there. The consumer
 * reads position p only when the word says p + 1, so it never sees a record half written.
 *
 * A producer that dies between claim and commit leaves its record unpublished for ever: the consumer stops
 * before it, and the others write on until the ring is full and are then refused. Nothing is torn, lost or
 * read twice. Whoever learns of the death (and knows that no living producer is between claim and commit)
 * lets the consumer step over it with skipUncommitted(); a commit that comes after that is refused.
 */
import {
  CONTROL_WORDS,
  checkCapacity,
  checkRing,
  HEAD,
  NO_RECORD,
  type RingMemory,
  TAIL,
  wholeLines,
} from './layout.ts'

/** A head position that some producer has seen: on the tail's line, which a claim needs anyway. */
const HEAD_SEEN = TAIL + 1

/**
 * A failed attempt means that another producer succeeded, so this many in a row take as many competing claims
 * within some microseconds. A guess far above what a handful of threads can do; beyond it we refuse, not spin.
 */
const CLAIM_ATTEMPTS_MAX = 64

/** Words that a ring takes in shared memory. */
export function mpscRingWords(capacity: number, recordWords: number): number {
  checkCapacity(capacity, recordWords)
  return CONTROL_WORDS + wholeLines(capacity) + capacity * recordWords
}

/** A ring in a SharedArrayBuffer of its own. */
export function allocateMpscRing(capacity: number, recordWords: number, startPosition = 0): RingMemory {
  const words = new Int32Array(new SharedArrayBuffer(4 * mpscRingWords(capacity, recordWords)))
  const ring = { words, offset: 0, capacity, recordWords }
  formatMpscRing(ring, startPosition)
  return ring
}

/** Makes the memory an empty ring; before any end is built. Unlike an SPSC ring, zeros alone are none. */
export function formatMpscRing(ring: RingMemory, startPosition = 0): void {
  checkRing(ring, mpscRingWords(ring.capacity, ring.recordWords))
  for (let i = 0; i < ring.capacity; i++) {
    const position = (startPosition + i) | 0
    const sequenceAt = ring.offset + CONTROL_WORDS + (position & (ring.capacity - 1))
    Atomics.store(ring.words, sequenceAt, (position + 1 - ring.capacity) | 0)
  }
  Atomics.store(ring.words, ring.offset + HEAD, startPosition | 0)
  Atomics.store(ring.words, ring.offset + HEAD_SEEN, startPosition | 0)
  Atomics.store(ring.words, ring.offset + TAIL, startPosition | 0)
}

/** A writing end: one object for each producing thread. */
export class MpscProducer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #tailAt: number
  readonly #headSeenAt: number
  readonly #headAt: number
  readonly #sequencesAt: number
  readonly #recordsAt: number
  #position = 0 // Of the first record that is claimed and not committed yet.

  constructor(ring: RingMemory) {
    checkRing(ring, mpscRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#tailAt = ring.offset + TAIL
    this.#headSeenAt = ring.offset + HEAD_SEEN
    this.#headAt = ring.offset + HEAD
    this.#sequencesAt = ring.offset + CONTROL_WORDS
    this.#recordsAt = this.#sequencesAt + wholeLines(ring.capacity)
  }

  /** Index in `words` of a free record, ours until commit(); NO_RECORD when the ring is full or too contended. */
  tryClaim(): number {
    return this.tryClaimBatch(1) === 0 ? NO_RECORD : this.claimIndex()
  }

  /**
   * How many records are now ours, one behind the other from claimIndex() on: at most `countMax`, 0 when the
   * ring is full or too contended. Every one of them must be committed before the next claim.
   */
  tryClaimBatch(countMax: number): number {
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS_MAX; attempt++) {
      const tail = Atomics.load(this.words, this.#tailAt)
      // The head seen may be old (the ring seems fuller) or ahead of our tail when that is old (seems overfull).
      let free = this.capacity - ((tail - Atomics.load(this.words, this.#headSeenAt)) >>> 0)
      if (free < countMax) {
        const head = Atomics.load(this.words, this.#headAt) // Pairs with MpscConsumer.release().
        Atomics.store(this.words, this.#headSeenAt, head)
        free = this.capacity - ((tail - head) | 0)
        if (free <= 0) return 0
      }
      // An old tail makes `free` too large, and the compare-exchange then says no.
      const count = Math.min(free, countMax, this.capacity - (tail & this.#mask))
      if (Atomics.compareExchange(this.words, this.#tailAt, tail, (tail + count) | 0) === tail) {
        this.#position = tail
        return count
      }
    }
    return 0
  }

  /** Index in `words` of the first record that is claimed and not committed yet. */
  claimIndex(): number {
    return this.#recordsAt + (this.#position & this.#mask) * this.recordWords
  }

  /** Publishes one record; pairs with the load in MpscConsumer.peek(). False when it had been skipped as abandoned. */
  commit(): boolean {
    const position = this.#position
    const before = (position + 1 - this.capacity) | 0
    this.#position = (position + 1) | 0
    const sequenceAt = this.#sequencesAt + (position & this.#mask)
    return Atomics.compareExchange(this.words, sequenceAt, before, this.#position) === before
  }

  /** Publishes the next `count` records claimed, in order. How many of them had not been skipped as abandoned. */
  commitBatch(count: number): number {
    let committed = 0
    for (let i = 0; i < count; i++) if (this.commit()) committed++
    return committed
  }
}

/** The reading end. */
export class MpscConsumer {
  readonly words: Int32Array
  readonly capacity: number
  readonly recordWords: number
  readonly #mask: number
  readonly #tailAt: number
  readonly #headAt: number
  readonly #sequencesAt: number
  readonly #recordsAt: number
  #head: number // Ours alone, hence no atomic load.

  constructor(ring: RingMemory) {
    checkRing(ring, mpscRingWords(ring.capacity, ring.recordWords))
    this.words = ring.words
    this.capacity = ring.capacity
    this.recordWords = ring.recordWords
    this.#mask = ring.capacity - 1
    this.#tailAt = ring.offset + TAIL
    this.#headAt = ring.offset + HEAD
    this.#sequencesAt = ring.offset + CONTROL_WORDS
    this.#recordsAt = this.#sequencesAt + wholeLines(ring.capacity)
    this.#head = Atomics.load(this.words, this.#headAt)
  }

  /** Index in `words` of the oldest record, ours until release(); NO_RECORD when there is none, or it is not committed yet. */
  peek(): number {
    return this.peekBatch(1) === 0 ? NO_RECORD : this.peekIndex()
  }

  /** How many committed records lie one behind the other from peekIndex() on: at most `countMax`. */
  peekBatch(countMax: number): number {
    const slot = this.#head & this.#mask
    const runMax = Math.min(countMax, this.capacity - slot)
    let count = 0
    while (count < runMax) {
      // Pairs with MpscProducer.commit().
      const sequence = Atomics.load(this.words, this.#sequencesAt + slot + count)
      if (sequence !== ((this.#head + count + 1) | 0)) break
      count++
    }
    return count
  }

  /** Index in `words` of the first record that the last peek() or peekBatch() gave. */
  peekIndex(): number {
    return this.#recordsAt + (this.#head & this.#mask) * this.recordWords
  }

  /** Gives the record back; pairs with the load of the head in MpscProducer.tryClaimBatch(). */
  release(): void {
    this.releaseBatch(1)
  }

  /** Gives back the first `count` records of the last batch. */
  releaseBatch(count: number): void {
    this.#head = (this.#head + count) | 0
    Atomics.store(this.words, this.#headAt, this.#head)
  }

  /**
   * Steps over the oldest record if it is claimed and not committed; true when it did. Only when its producer
   * is known to be dead: one that lives would go on writing into a record that is another's by then.
   */
  skipUncommitted(): boolean {
    if (Atomics.load(this.words, this.#tailAt) === this.#head) return false
    const before = (this.#head + 1 - this.capacity) | 0
    const sequenceAt = this.#sequencesAt + (this.#head & this.#mask)
    // Taken out as if committed, so that of a late commit and this exactly one succeeds.
    if (Atomics.compareExchange(this.words, sequenceAt, before, (this.#head + 1) | 0) !== before) return false
    this.releaseBatch(1)
    return true
  }
}
