/**
 * Address order from the last fault on: what follows a fault is what a sequential reader wants next, and for
 * everybody else one order is as good as another (QEMU does the same, commit 20d8262281).
 */
import type { PrefaultPolicy } from './policy.ts'

export class SequentialPolicy implements PrefaultPolicy {
  #cursor = 0

  onFault(page: number): void {
    this.#cursor = page + 1
  }

  cursor(): number {
    return this.#cursor
  }

  advance(nextPage: number): void {
    this.#cursor = nextPage
  }
}
