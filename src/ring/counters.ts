/**
 * Named counters of one agent: its thread alone adds, any thread reads, nobody waits. Each agent has a set of
 * its own, on lines of its own, so that counting never takes a line from another thread.
 *
 * Names are for readers; the agent counts by index, in the order of the names:
 *     const COUNT = ['pagesPlaced', 'bytesReceived'] as const
 */
import { wholeLines } from './layout.ts'
import { WideWords, wideWords } from './wide-words.ts'

/** Words that a set takes in shared memory. */
export function counterWords(nameCount: number): number {
  return wholeLines(wideWords(nameCount))
}

export class Counters<Name extends string> {
  readonly names: readonly Name[]
  readonly #values: WideWords

  /** On zeroed memory every counter is 0; on memory in use it goes on counting. */
  constructor(names: readonly Name[], words: Int32Array, offset = 0) {
    if (new Set(names).size !== names.length)
      throw new RangeError(`counter named twice in: ${names.join(', ')}`)
    this.names = names
    this.#values = new WideWords(words, offset, names.length)
  }

  static allocate(nameCount: number): Int32Array<SharedArrayBuffer> {
    return new Int32Array(new SharedArrayBuffer(4 * counterWords(nameCount)))
  }

  /** The index for add(); start-up only. */
  indexOf(name: Name): number {
    return this.names.indexOf(name)
  }

  /** The owner: adds an integer of at least 0. */
  add(index: number, amount: number): void {
    this.#values.add(index, amount)
  }

  /** Any thread. */
  read(index: number): number {
    return this.#values.read(index)
  }

  /** Any thread: all of them by name; each is exact, but they are not read at one instant. */
  snapshot(): Record<Name, number> {
    return Object.fromEntries(this.names.map((name, i) => [name, this.read(i)])) as Record<Name, number>
  }
}
