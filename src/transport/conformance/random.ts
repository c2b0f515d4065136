/** Chance from a seed: splitmix32, so that a failing run is found again by the number it printed. */

/** The 32-bit hash of a counter; a stream is the hashes of 1, 2, 3 … added to a seed. */
export function nextRandom(counter: number): number {
  let x = Math.imul(counter, 0x9e3779b9)
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
  return (x ^ (x >>> 15)) >>> 0
}

export class Random {
  #counter: number

  constructor(seed: number) {
    this.#counter = seed | 0
  }

  /** An integer in [0, end). */
  below(end: number): number {
    this.#counter = (this.#counter + 1) | 0
    return nextRandom(this.#counter) % end
  }
}
