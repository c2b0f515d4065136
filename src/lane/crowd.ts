/**
 * Whether many threads of a client stand still at the same time, in the mean of the last turns. Who answers a crowd has a page to place
 * in every turn, and with turns as short as everybody's on the demand road it would hold up who answers one fault now and then.
 */

/** Threads: a small virtual machine that faults with all it has is no crowd. */
const CROWD_MIN = 6
/** So that it does not come and go from one turn to the next. */
const CROWD_ENDS_BELOW = 3
/** The mean follows within so many turns. */
const TURNS = 64

export class Crowd {
  isThere = false
  #mean = 0

  /** In each turn: how many stand still. @returns whether a crowd has come or gone */
  note(pending: number): boolean {
    this.#mean += (pending - this.#mean) / TURNS
    if (this.isThere ? this.#mean >= CROWD_ENDS_BELOW : this.#mean < CROWD_MIN) return false
    this.isThere = !this.isThere
    return true
  }
}
