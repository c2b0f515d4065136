/**
 * A placement handed to another thread: one at a time, in a few words of shared memory. Whoever gave it does its own
 * work meanwhile and then settles it: takes it back if nobody has begun, or waits for who has. So nobody ever waits for a
 * thread that has no processor, unless it lost it in the middle of the kernel's copying.
 *
 *     IDLE ─give▶ GIVEN ─take▶ TAKEN ─finish▶ DONE ─settle▶ IDLE
 *                   └──────── settle: taken back ─────────▶ IDLE
 */
import { PARK_MS_MAX } from '../config.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { LINE_WORDS } from '../ring/layout.ts'
import { PLACED } from './fault-source.ts'

const STATE = 0
const BELL = LINE_WORDS
const ORDER = 2 * LINE_WORDS
const USERFAULTFD = ORDER
const FIRST_PAGE = ORDER + 1
const PAGE_COUNT = ORDER + 2
const ADDRESS_LOW = ORDER + 3
const ADDRESS_HIGH = ORDER + 4
const PLACED_PAGES = ORDER + 5
const STATUS = ORDER + 6
const HELPER = ORDER + 7
const WORDS = 3 * LINE_WORDS

const IDLE = 0
const GIVEN = 1
const TAKEN = 2
const DONE = 3
/** Some 100 µs of looking, as long as half a run takes and as long as waking from a sleep would. */
const LOOKS_MAX = 20_000
const HIGH = 2 ** 32
/** In an errand that was taken back. */
export const NOT_BEGUN = -1

export class Errand {
  /** The helper's: wakes it for an errand, and stops it. */
  readonly bell: Doorbell
  readonly #words: Int32Array

  /** @param words of Errand.allocate(); both threads build theirs on the same */
  constructor(words: Int32Array) {
    this.#words = words
    this.bell = new Doorbell(words, BELL)
  }

  static allocate(): Int32Array<SharedArrayBuffer> {
    return new Int32Array(new SharedArrayBuffer(WORDS * 4))
  }

  /** The giver, with nothing given: pages to place from `address` of this process. */
  give(userfaultfd: number, firstPage: number, pageCount: number, address: number): void {
    const words = this.#words
    words[USERFAULTFD] = userfaultfd
    words[FIRST_PAGE] = firstPage
    words[PAGE_COUNT] = pageCount
    words[ADDRESS_LOW] = (address % HIGH) | 0
    words[ADDRESS_HIGH] = Math.floor(address / HIGH)
    Atomics.store(words, STATE, GIVEN)
    this.bell.wake()
  }

  /** The giver, after give(): how many of its pages are placed; NOT_BEGUN when it was taken back. `status` says why not all. */
  settle(): number {
    const words = this.#words
    if (Atomics.compareExchange(words, STATE, GIVEN, IDLE) === GIVEN) return NOT_BEGUN
    // Begun: it is one system call from its end.
    for (let look = 0; look < LOOKS_MAX; look++) if (Atomics.load(words, STATE) !== TAKEN) break
    while (Atomics.load(words, STATE) === TAKEN) {
      Atomics.wait(words, STATE, TAKEN, PARK_MS_MAX)
      if (!this.bell.isStopped()) continue
      words[STATUS] = PLACED.AGAIN // Its thread may have died with it.
      return 0
    }
    Atomics.store(words, STATE, IDLE)
    return words[PLACED_PAGES] as number
  }

  /** PLACED of the errand that was settled last. */
  get status(): number {
    return this.#words[STATUS] as number
  }

  /** The helper's thread, as the kernel numbers it; 0 before it has begun. */
  get helper(): number {
    return Atomics.load(this.#words, HELPER)
  }

  set helper(thread: number) {
    Atomics.store(this.#words, HELPER, thread)
  }

  /** The helper: true when there is an errand, which is then its own until finish(). */
  tryTake(): boolean {
    return Atomics.compareExchange(this.#words, STATE, GIVEN, TAKEN) === GIVEN
  }

  get isGiven(): boolean {
    return Atomics.load(this.#words, STATE) === GIVEN
  }

  get userfaultfd(): number {
    return this.#words[USERFAULTFD] as number
  }

  get firstPage(): number {
    return this.#words[FIRST_PAGE] as number
  }

  get pageCount(): number {
    return this.#words[PAGE_COUNT] as number
  }

  get address(): number {
    const low = this.#words[ADDRESS_LOW] as number
    return (this.#words[ADDRESS_HIGH] as number) * HIGH + (low < 0 ? low + HIGH : low)
  }

  /** The helper, after tryTake(). */
  finish(placedPages: number, status: number): void {
    const words = this.#words
    words[PLACED_PAGES] = placedPages
    words[STATUS] = status
    Atomics.store(words, STATE, DONE)
    Atomics.notify(words, STATE)
  }
}
