/**
 * What the two lanes of one client know of each other: a few words of shared memory, each with one writer, and
 * the regions. Neither lane ever waits for the other here; the demand agent alone moves the session on.
 */
import { REGION_TABLE_WORDS, RegionTable } from '../fault/region-table.ts'
import type { SharedWord } from '../fault/uffd-faults.ts'
import { Doorbell, type DoorbellPrimitives } from '../ring/doorbell.ts'
import { LINE_WORDS, type RingMemory } from '../ring/layout.ts'
import { allocateSpscRing } from '../ring/spsc-ring.ts'
import { ARRIVALS_WORDS, Arrivals } from './arrivals.ts'

/** Each on a line of its own. */
const STATE = 0
const RELEASED = LINE_WORDS
const PENDING = 2 * LINE_WORDS
const REMAINING = 3 * LINE_WORDS
const READING = 4 * LINE_WORDS
const DEMAND_BELL = 5 * LINE_WORDS
const PREFAULT_BELL = 6 * LINE_WORDS
const USERFAULTFD = 7 * LINE_WORDS
const PLACING = 8 * LINE_WORDS
const ANSWERED = 9 * LINE_WORDS
const PROMOTED = 10 * LINE_WORDS
const REST_BELL = 11 * LINE_WORDS
const ARRIVALS = 12 * LINE_WORDS
const REGIONS = ARRIVALS + ARRIVALS_WORDS
const BOARD_WORDS = REGIONS + REGION_TABLE_WORDS

/** STATE is `epoch * 4 + phase`: an epoch is one client's session. */
export const PHASE = { IDLE: 0, RUNNING: 1, STOPPING: 2 } as const

/** What a word holds: two seconds. */
const ANSWERED_NS_MAX = 2 ** 31 - 1

/** Demand faults told to the prefault agent: page numbers. A full ring loses hints, nothing else. */
const HINTS = 256

export interface BoardMemory {
  readonly words: Int32Array<SharedArrayBuffer>
  readonly hints: RingMemory
}

export function allocateBoard(): BoardMemory {
  return {
    words: new Int32Array(new SharedArrayBuffer(BOARD_WORDS * 4)),
    hints: allocateSpscRing(HINTS, 1),
  }
}

export class Board {
  readonly memory: BoardMemory
  readonly regions: RegionTable
  readonly arrivals: Arrivals
  readonly #words: Int32Array

  constructor(memory: BoardMemory) {
    this.memory = memory
    this.#words = memory.words
    this.regions = new RegionTable(memory.words, REGIONS)
    this.arrivals = new Arrivals(memory.words, ARRIVALS)
  }

  /** Raised while the demand agent reads events; see UffdFaults. */
  get readingWord(): SharedWord {
    return { words: this.#words, index: READING }
  }

  /** Raised while the prefault agent places; see UffdFaults. */
  get placingWord(): SharedWord {
    return { words: this.#words, index: PLACING }
  }

  /**
   * Prefault agent only. False while the demand agent reads events. After true, and until endPlacing(), no removal
   * is taken from the kernel, so what the page table says of removals now holds for what is placed.
   */
  tryBeginPlacing(): boolean {
    Atomics.store(this.#words, PLACING, 1) // Pairs with UffdFaults.pollFaults(): each raises, then looks.
    if (Atomics.load(this.#words, READING) === 0) return true
    Atomics.store(this.#words, PLACING, 0)
    return false
  }

  endPlacing(): void {
    Atomics.store(this.#words, PLACING, 0)
  }

  demandBell(primitives: DoorbellPrimitives): Doorbell {
    return new Doorbell(this.#words, DEMAND_BELL, primitives)
  }

  prefaultBell(primitives: DoorbellPrimitives): Doorbell {
    return new Doorbell(this.#words, PREFAULT_BELL, primitives)
  }

  /** Of a prefault agent that rests: rung for whoever waits for what it has in flight, and for nothing else. */
  restBell(primitives: DoorbellPrimitives): Doorbell {
    return new Doorbell(this.#words, REST_BELL, primitives)
  }

  phase(): number {
    return Atomics.load(this.#words, STATE) & 3
  }

  epoch(): number {
    return Atomics.load(this.#words, STATE) >> 2
  }

  /** Demand agent only: the client's userfaultfd and regions are set. */
  start(userfaultfd: number): void {
    Atomics.store(this.#words, USERFAULTFD, userfaultfd)
    Atomics.store(this.#words, STATE, ((this.epoch() + 1) << 2) | PHASE.RUNNING)
  }

  userfaultfd(): number {
    return Atomics.load(this.#words, USERFAULTFD)
  }

  /** Demand agent only: asks the prefault agent to let go of the client; see isReleased(). */
  stop(): void {
    Atomics.store(this.#words, STATE, (this.epoch() << 2) | PHASE.STOPPING)
  }

  idle(): void {
    Atomics.store(this.#words, STATE, (this.epoch() << 2) | PHASE.IDLE)
  }

  /** Prefault agent only: it touches the client of `epoch` no more. */
  release(epoch: number): void {
    Atomics.store(this.#words, RELEASED, epoch)
  }

  /** Only then may the userfaultfd be closed: a recycled descriptor would take the other lane's ioctl. */
  isReleased(): boolean {
    return Atomics.load(this.#words, RELEASED) === this.epoch()
  }

  /** Threads' pages that demand owes: the gate of the prefault lane. Demand agent writes. */
  setPending(pages: number): void {
    Atomics.store(this.#words, PENDING, pages)
  }

  pending(): number {
    return Atomics.load(this.#words, PENDING)
  }

  /** Of these, pages that prefault has in flight. Demand agent writes. */
  setPromoted(pages: number): void {
    Atomics.store(this.#words, PROMOTED, pages)
  }

  promoted(): number {
    return Atomics.load(this.#words, PROMOTED)
  }

  /** Demand agent only: a fault has been answered after `ns`. */
  showAnswered(ns: number): void {
    Atomics.store(this.#words, ANSWERED, Math.min(ns, ANSWERED_NS_MAX))
  }

  /** Prefault agent only: how long the last fault took that was answered since the last call; 0: none was. */
  takeAnswered(): number {
    if (Atomics.load(this.#words, ANSWERED) === 0) return 0
    return Atomics.exchange(this.#words, ANSWERED, 0)
  }

  /** Pages of the client that are neither there nor known to be zero. */
  setRemaining(pages: number): void {
    Atomics.store(this.#words, REMAINING, pages)
  }

  remaining(): number {
    return Atomics.load(this.#words, REMAINING)
  }

  /** Either lane, with each page that it brings to an end. */
  settle(pages: number): void {
    Atomics.sub(this.#words, REMAINING, pages)
  }
}
