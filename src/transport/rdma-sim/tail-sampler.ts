/**
 * What the host adds to a latency: a jitter term apart from the model, whose median is 0. Integers only, so that
 * every engine draws the same. Quantiles are drawn by the golden ratio sequence, which spreads evenly: a run of
 * a thousand has its 99th percentile where the table has it.
 *
 * Only two quantiles are published, so the table is flat around them (0.985..0.9975 and from 0.998 on) and
 * straight in between. What lies beyond the 99.9th percentile is not known and not invented.
 */
const GOLDEN = 0x9e3779b9
const TWO_32 = 2 ** 32

export class TailSampler {
  readonly #quantiles: readonly number[]
  readonly #addsPs: readonly number[]
  #at: number

  /** @param ns99 what is added at the 99th percentile, @param ns999 at the 99.9th */
  constructor(ns99: number, ns999: number, seed: number) {
    this.#quantiles = [0, 0.75, 0.985, 0.9975, 0.998, 1].map((q) => Math.floor(q * TWO_32))
    this.#addsPs = [0, 0, ns99, ns99, ns999, ns999].map((ns) => Math.floor(ns * 1000))
    this.#at = Math.imul(seed | 0, 0x85ebca6b) >>> 0
  }

  samplePs(): number {
    this.#at = (this.#at + GOLDEN) >>> 0
    let i = 1
    while (this.#at >= this.#quantiles[i]!) i++
    const from = this.#quantiles[i - 1]!
    const share = (this.#at - from) / (this.#quantiles[i]! - from)
    return Math.floor(this.#addsPs[i - 1]! + share * (this.#addsPs[i]! - this.#addsPs[i - 1]!))
  }
}

/** xorshift32: chance from a seed, the same on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = Math.imul(seed | 0, 0x9e3779b1) | 1
  }

  /** An integer from 0 to below `limit` (up to 2^32). */
  below(limit: number): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return Math.floor(((this.#state >>> 0) / TWO_32) * limit)
  }
}
