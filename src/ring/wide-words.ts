/**
 * Integers from 0 to 2^53 in shared memory: each has one writer, and any thread reads it.
 *
 * Why not BigInt64Array: every Atomics.add on it makes BigInts, garbage on the page path. Why not one int32:
 * byte counts pass 2^31 in seconds. So an integer is three int32 words, in three arrays:
 *
 *     LOW     value mod 2^31; the only word that the writer touches, but for a carry every 2^31
 *     FIRST   value div 2^31, stored before LOW at a carry
 *     LAST    the same, stored after LOW
 *
 * A reader takes LAST, LOW, FIRST. If FIRST and LAST agree, LOW belongs to them (Lamport 1977). If not, a carry
 * is under way, and FIRST × 2^31 lies between the value before it and the value after it: as good a reading as either.
 */
const RADIX = 2 ** 31

/** Words that `count` integers take in shared memory. */
export function wideWords(count: number): number {
  return 3 * count
}

export class WideWords {
  readonly count: number
  readonly #words: Int32Array
  readonly #lowAt: number
  readonly #firstAt: number
  readonly #lastAt: number

  /** On zeroed memory every integer is 0. */
  constructor(words: Int32Array, offset: number, count: number) {
    if (offset < 0 || offset + wideWords(count) > words.length) {
      throw new RangeError(`${count} wide integers at word ${offset} do not fit into ${words.length} words`)
    }
    this.count = count
    this.#words = words
    this.#lowAt = offset
    this.#firstAt = offset + count
    this.#lastAt = offset + 2 * count
  }

  /** The one writer: adds an integer of at least 0; the sum stays below 2^53 (at 10 GB/s for ten days). */
  add(index: number, amount: number): void {
    const low = Atomics.load(this.#words, this.#lowAt + index) + amount
    if (low < RADIX) Atomics.store(this.#words, this.#lowAt + index, low)
    else this.#carry(index, low)
  }

  /** The one writer: replaces the value by one that is not smaller. */
  raise(index: number, value: number): void {
    this.add(index, value - this.read(index))
  }

  /** Any thread: a value that the integer had during the call, or would pass through in a carry under way. */
  read(index: number): number {
    const last = Atomics.load(this.#words, this.#lastAt + index)
    const low = Atomics.load(this.#words, this.#lowAt + index)
    const first = Atomics.load(this.#words, this.#firstAt + index)
    return first === last ? first * RADIX + low : first * RADIX
  }

  #carry(index: number, low: number): void {
    const carried = Math.floor(low / RADIX)
    const high = Atomics.load(this.#words, this.#firstAt + index) + carried
    Atomics.store(this.#words, this.#firstAt + index, high)
    Atomics.store(this.#words, this.#lowAt + index, low - carried * RADIX)
    Atomics.store(this.#words, this.#lastAt + index, high)
  }
}
