/**
 * What the handlers of several clients in one process know of each other: for each a place in shared memory, which its
 * demand agent alone writes, and anyone reads. They share the road, so prefault of one heeds the faults of all
 * as those of its own client.
 */
import { FaultlaneError } from '../errors.ts'
import { LINE_WORDS } from '../ring/layout.ts'

/** Of a place, each with one writer: its demand agent. */
const PENDING = 0
const FAULTS = 1
/** Each look goes over all of them. */
const PLACES_MAX = 64

/** Shared by all of one process's handlers: plain data that passes through workerData. */
export interface NeighboursMemory {
  readonly words: Int32Array<SharedArrayBuffer>
  readonly places: number
}

export function allocateNeighbours(places: number): NeighboursMemory {
  return { words: new Int32Array(new SharedArrayBuffer(places * LINE_WORDS * 4)), places }
}

/** As one of the handlers sees them. */
export class Neighbours {
  readonly #words: Int32Array
  readonly #place: number
  readonly #places: number

  constructor(memory: NeighboursMemory, place: number) {
    if (!(place >= 0 && place < memory.places)) throw new RangeError(`place ${place} of ${memory.places}`)
    this.#words = memory.words
    this.#places = memory.places
    this.#place = place
  }

  /** The place's demand agent: how many pages its client's threads wait for. */
  setPending(pages: number): void {
    Atomics.store(this.#words, this.#place * LINE_WORDS + PENDING, pages)
  }

  /** The place's demand agent: its client has faulted. */
  countFault(): void {
    const at = this.#place * LINE_WORDS + FAULTS
    Atomics.store(this.#words, at, ((this.#words[at] as number) + 1) | 0)
  }

  /** Of all others together: a number that changes with every fault. */
  faultsElsewhere(): number {
    return this.#sumElsewhere(FAULTS)
  }

  pendingElsewhere(): number {
    return this.#sumElsewhere(PENDING)
  }

  #sumElsewhere(word: number): number {
    let sum = 0
    for (let place = 0; place < this.#places; place++)
      if (place !== this.#place) sum = (sum + Atomics.load(this.#words, place * LINE_WORDS + word)) | 0
    return sum
  }
}

/** Gives out the places; the process's main thread has it. */
export class Neighbourhood {
  readonly memory: NeighboursMemory
  readonly #isTaken: boolean[]

  /** @param places handlers at the same time, 1 to 64 */
  constructor(places: number) {
    if (!Number.isInteger(places) || places < 1 || places > PLACES_MAX)
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: 'places of a neighbourhood',
        got: String(places),
        expected: `1 to ${PLACES_MAX}`,
      })
    this.memory = allocateNeighbours(places)
    this.#isTaken = Array.from({ length: places }, () => false)
  }

  /** Throws BAD_ARGUMENT when all places are taken. */
  join(): number {
    const place = this.#isTaken.indexOf(false)
    if (place < 0)
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: 'handlers of one neighbourhood',
        got: String(this.memory.places + 1),
        expected: `at most ${this.memory.places}`,
      })
    this.#isTaken[place] = true
    Atomics.store(this.memory.words, place * LINE_WORDS + PENDING, 0) // Of a handler whose thread has died.
    return place
  }

  /** Its handler has ended. */
  leave(place: number): void {
    this.#isTaken[place] = false
  }
}
