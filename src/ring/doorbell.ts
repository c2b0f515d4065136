/**
 * A thread's wake-up word. Its owner announces that it is about to sleep, looks for work once more, and parks;
 * everybody else publishes work and then calls wake(), which costs one atomic load while nobody sleeps.
 *
 * Why no wake-up is lost: the announcement and the publication (a ring's commit) are both sequentially
 * consistent stores, each followed by a look at the other's word. In any order of the four, either the owner's
 * last look finds the work, or the waker's look finds the announcement. A spurious wake-up is possible and harmless.
 *
 * One word, two bits, so that stopping and waking cannot overtake each other:
 *     ANNOUNCED   set by the owner, cleared by the one waker that then signals, or by the owner when it is up
 *     STOPPED     set once by anybody, for ever; a parked owner comes back at once and never sleeps again
 *
 * How to sleep and how to signal are handed in. The default is the futex under Atomics.wait on the word itself
 * (threads of one process). A thread that owns file descriptors sleeps in poll(2) with an eventfd in the set
 * and empties that eventfd before it returns; its wakers signal by writing to it. An eventfd remembers a
 * signal that comes before the sleep, as the futex notices that the word has changed: neither can miss one.
 */
const ANNOUNCED = 1
const STOPPED = 2

/** A blocked thread runs no event loop and cannot be terminated, so no sleep is longer than this. */
export const PARK_MS_MAX = 100

/** Words that a doorbell takes in shared memory; give it a line of its own (LINE_WORDS). */
export const DOORBELL_WORDS = 1

/** The two primitives under a doorbell. A waker needs only `signal`, the owner only `sleep`. */
export interface DoorbellPrimitives {
  /** Ends the owner's sleep, the present one or the next. */
  signal(): void
  /** Sleeps until signalled, for `ms` at the most; may come back early. */
  sleep(ms: number): void
}

/** Sleeps in the futex of the doorbell's own word. */
export function futexPrimitives(words: Int32Array, index: number): DoorbellPrimitives {
  return {
    signal: () => {
      Atomics.notify(words, index)
    },
    sleep: (ms) => {
      Atomics.wait(words, index, ANNOUNCED, ms)
    },
  }
}

export class Doorbell {
  readonly #words: Int32Array
  readonly #index: number
  readonly #primitives: DoorbellPrimitives

  /** On zeroed memory the doorbell is new: nobody sleeps, nothing is stopped. */
  constructor(words: Int32Array, index: number, primitives = futexPrimitives(words, index)) {
    this.#words = words
    this.#index = index
    this.#primitives = primitives
  }

  /** A doorbell word on a line of its own. */
  static allocate(): Int32Array<SharedArrayBuffer> {
    return new Int32Array(new SharedArrayBuffer(128))
  }

  /** The owner: from now on a wake() signals. Look for work once more before park(). */
  announce(): void {
    Atomics.or(this.#words, this.#index, ANNOUNCED) // Pairs with the load in wake().
  }

  /** The owner: sleeps until woken or stopped, `ms` or PARK_MS_MAX at the most; not at all when woken since announce(). */
  park(ms: number): void {
    if (Atomics.load(this.#words, this.#index) === ANNOUNCED)
      this.#primitives.sleep(Math.min(ms, PARK_MS_MAX))
    Atomics.and(this.#words, this.#index, ~ANNOUNCED)
  }

  /** Anybody, after publishing work: wakes the owner if it sleeps or is about to. True when it signalled. */
  wake(): boolean {
    if ((Atomics.load(this.#words, this.#index) & ANNOUNCED) === 0) return false // Pairs with announce().
    if ((Atomics.and(this.#words, this.#index, ~ANNOUNCED) & ANNOUNCED) === 0) return false
    this.#primitives.signal()
    return true
  }

  /** Anybody: the owner is to end. Holds for ever. */
  stop(): void {
    Atomics.store(this.#words, this.#index, STOPPED)
    this.#primitives.signal()
  }

  isStopped(): boolean {
    return (Atomics.load(this.#words, this.#index) & STOPPED) !== 0
  }
}
