/** How much bulk goes out between two looks at demand: less while demand comes. */
import {
  BULK_QUANTUM_BYTES,
  QUIET_AFTER_TURNS,
  QUIET_QUANTUM_BYTES,
  REQUESTS_PER_TURN_MAX,
} from '../../config.ts'

/** As much as one gathering takes, in reads and in bytes. */
const UNBOUNDED = 2 ** 30

export class Quantum {
  readonly readsMax: number
  readonly #isOn: boolean
  #quietTurns = QUIET_AFTER_TURNS

  /** @param isOn false: all the bulk that the socket takes (level `quantum`) */
  constructor(isOn: boolean) {
    this.#isOn = isOn
    this.readsMax = isOn ? REQUESTS_PER_TURN_MAX : UNBOUNDED
  }

  get bytesMax(): number {
    if (!this.#isOn) return UNBOUNDED
    return this.#quietTurns < QUIET_AFTER_TURNS ? BULK_QUANTUM_BYTES : QUIET_QUANTUM_BYTES
  }

  /** @param hadDemand the turn has taken or answered demand */
  onTurn(hadDemand: boolean): void {
    this.#quietTurns = hadDemand ? 0 : this.#quietTurns + 1
  }
}
