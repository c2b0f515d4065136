/**
 * How many demand requests of one destination the source answers before it looks at the next. Alone a destination has as many as
 * a turn takes; where several ask, one whose threads all stand still would have each request of another wait for 16 of its own.
 */
import { DEMAND_SHARE_READS, REQUESTS_PER_TURN_MAX } from '../../config.ts'

/** Of two that ask, the light one once a millisecond and the heavy one without a break, this is some 30 ms. */
const SHARED_FOR_ASKS = 1000
/** Bulk goes out after as many replies as a turn of one destination has: a quantum of 4 KiB pages. */
const TURNS_PER_BULK = 4

export class DemandShare {
  readonly #isOn: boolean
  #lastAsker = -1
  #asks = 0
  #sharedUntilAsk = 0
  #turnsWithoutBulk = 0

  /** @param isOn false: always as many as a turn takes (level `fair`) */
  constructor(isOn: boolean) {
    this.#isOn = isOn
  }

  /** Requests of one destination have come. @param asker its connection's descriptor */
  onAsked(asker: number): void {
    this.#asks++
    if (asker === this.#lastAsker) return
    if (this.#lastAsker !== -1) this.#sharedUntilAsk = this.#asks + SHARED_FOR_ASKS
    this.#lastAsker = asker
  }

  get readsMax(): number {
    return this.#isOn && this.#asks < this.#sharedUntilAsk ? DEMAND_SHARE_READS : REQUESTS_PER_TURN_MAX
  }

  /**
   * At the end of a turn: whether bulk is still to wait. A turn of few replies would have it go out that much more often, between
   * the requests of a destination that waits for many.
   *
   * @param isMoreAsked demand is left that could be answered
   */
  keepsBulkBack(isMoreAsked: boolean): boolean {
    const isShort = isMoreAsked && this.readsMax < REQUESTS_PER_TURN_MAX
    this.#turnsWithoutBulk = isShort ? (this.#turnsWithoutBulk + 1) % TURNS_PER_BULK : 0
    return this.#turnsWithoutBulk > 0
  }
}
