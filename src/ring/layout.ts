/**
 * How a ring lies in shared memory. A ring is int32 words: two control lines, then what its kind needs, then
 * the records. Everything is given as words plus an offset, so a ring may be a SharedArrayBuffer of its own, a
 * part of a larger one, or a part of memory that two processes have mapped.
 *
 * Positions run freely as int32 from a start (0 outside tests) and become a slot only through the mask: an
 * index outside the ring cannot be made, whatever a peer writes into the control words.
 */

/** Two lines of 64 bytes: processors fetch lines in pairs, so neighbours closer than this share them. */
export const LINE_WORDS = 32

/** Next position to write. Written by producers only. */
export const TAIL = 0
/** Next position to read. Written by the consumer only; 128 bytes away, so neither steals the other's line. */
export const HEAD = LINE_WORDS
export const CONTROL_WORDS = 2 * LINE_WORDS

/** The refusal of tryClaim() and peek(): the ring is full, or empty. */
export const NO_RECORD = -1

/** Above this, `tail - head` of a full ring would no longer be a positive int32. */
const CAPACITY_MAX = 2 ** 30

/** Where a ring lies: plain data that passes through workerData. Both ends are built from the same. */
export interface RingMemory {
  readonly words: Int32Array
  /** First word of the ring in `words`; a multiple of LINE_WORDS keeps the lines apart. */
  readonly offset: number
  /** Records; a power of two. */
  readonly capacity: number
  readonly recordWords: number
}

/** Next multiple of a line, so that what follows starts on its own. */
export function wholeLines(words: number): number {
  return Math.ceil(words / LINE_WORDS) * LINE_WORDS
}

/** Refuses what would only fail later as a silent overlap. Start-up only. */
export function checkRing(ring: RingMemory, wordsNeeded: number): void {
  checkCapacity(ring.capacity, ring.recordWords)
  if (!Number.isInteger(ring.offset) || ring.offset < 0 || ring.offset + wordsNeeded > ring.words.length) {
    throw new RangeError(
      `ring of ${wordsNeeded} words at word ${ring.offset} does not fit into ${ring.words.length} words`,
    )
  }
}

export function checkCapacity(capacity: number, recordWords: number): void {
  const isInRange = Number.isInteger(capacity) && capacity >= 1 && capacity <= CAPACITY_MAX
  if (!isInRange || (capacity & (capacity - 1)) !== 0) {
    throw new RangeError(`ring capacity ${capacity}: expected a power of two from 1 to ${CAPACITY_MAX}`)
  }
  if (!Number.isInteger(recordWords) || recordWords < 1) {
    throw new RangeError(`ring record of ${recordWords} words: expected an integer of at least 1`)
  }
}
