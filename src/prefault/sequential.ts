/**
 * Address order from the last fault on: what follows a fault is what a sequential reader wants next, and for
 * everybody else one order is as good as another (QEMU does the same, commit 20d8262281).
 */
import type { PrefaultPolicy } from './policy.ts'

/** Pages before the cursor, 4 MiB: those in flight over a fast road, and what came just now. */
const NEAR_BEHIND = 1024
/** Pages after it: a client that has overtaken, its threads one behind the other. */
const NEAR_AHEAD = 64

export class SequentialPolicy implements PrefaultPolicy {
  #cursor = 0

  onFault(page: number): void {
    this.#cursor = page + 1
  }

  isNear(page: number): boolean {
    return page >= this.#cursor - NEAR_BEHIND && page < this.#cursor + NEAR_AHEAD
  }

  cursor(): number {
    return this.#cursor
  }

  advance(nextPage: number): void {
    this.#cursor = nextPage
  }
}
