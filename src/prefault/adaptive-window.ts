/**
 * Faultlane's own window: full speed while nobody waits, nothing new while somebody does.
 */
import type { Window } from './window.ts'

const BYTES_MAX = 512 * 1024

export class AdaptiveWindow implements Window {
  readonly #pageBytes: number

  constructor(pageBytes: number) {
    this.#pageBytes = pageBytes
  }

  bytes(demandPending: number): number {
    return demandPending > 0 ? 0 : Math.max(this.#pageBytes, BYTES_MAX)
  }

  onCompletion(): void {}
}
