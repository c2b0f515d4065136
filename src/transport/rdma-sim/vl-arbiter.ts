/**
 * InfiniBand's virtual lane arbitration: which lane sends the next packet. Two tables of (lane, weight), weight
 * in units of 64 bytes, weight 0 skips the entry, a lane may stand in both and several times. The high table
 * goes first until it has sent `highLimit` × 4096 bytes past a waiting low lane (0: one packet, 255: no limit).
 *
 * Selection is per packet; that a packet once chosen runs to its end is the egress port's part.
 */
import { FaultlaneError } from '../../errors.ts'

export const VL_COUNT = 15 // VL15 is management and carries no queue pair.
const WEIGHT_UNIT = 64
const HIGH_LIMIT_UNIT = 4096
const HIGH_UNLIMITED = 255

/** [lane, weight] pairs. */
export type VlTable = readonly (readonly [number, number])[]

export interface VlArbitration {
  readonly high: VlTable
  readonly low: VlTable
  readonly highLimit: number
}

/** One latency lane, VL 1, over the others: the example of OpenSM's QoS document with the limit opened. */
export const LATENCY_LANE: VlArbitration = {
  high: [[1, 64]],
  low: [
    [0, 64],
    [2, 128],
    [3, 192],
  ],
  highLimit: HIGH_UNLIMITED,
}

class WeightedTable {
  readonly #entries: VlTable
  #at = 0
  #left: number

  constructor(entries: VlTable) {
    this.#entries = entries
    this.#left = entries.length === 0 ? 0 : entries[0]![1] * WEIGHT_UNIT
  }

  /** The lane that is next among those with a packet waiting; -1 for none. */
  pick(headBytes: Int32Array): number {
    // One look more than entries: the first entry again, with its weight renewed.
    for (let looks = 0; looks <= this.#entries.length && this.#entries.length > 0; looks++) {
      const vl = this.#entries[this.#at]![0]
      if (this.#left > 0 && headBytes[vl]! > 0) return vl
      this.#at = (this.#at + 1) % this.#entries.length
      this.#left = this.#entries[this.#at]![1] * WEIGHT_UNIT
    }
    return -1
  }

  charge(bytes: number): void {
    this.#left -= bytes
  }

  hasWaiting(headBytes: Int32Array): boolean {
    for (let i = 0; i < this.#entries.length; i++) {
      if (this.#entries[i]![1] > 0 && headBytes[this.#entries[i]![0]]! > 0) return true
    }
    return false
  }
}

export class VlArbiter {
  readonly #high: WeightedTable
  readonly #low: WeightedTable
  readonly #highBudget: number
  #highLeft: number
  readonly #served = new Set<number>()

  constructor(tables: VlArbitration) {
    for (const [vl, weight] of [...tables.high, ...tables.low]) {
      if (!Number.isInteger(vl) || vl < 0 || vl >= VL_COUNT)
        refuse('virtual lane', vl, `0 to ${VL_COUNT - 1}`)
      if (!Number.isInteger(weight) || weight < 0 || weight > 255) refuse('lane weight', weight, '0 to 255')
      if (weight > 0) this.#served.add(vl)
    }
    if (!(tables.highLimit >= 0 && tables.highLimit <= 255))
      refuse('high limit', tables.highLimit, '0 to 255')
    this.#high = new WeightedTable(tables.high)
    this.#low = new WeightedTable(tables.low)
    this.#highBudget =
      tables.highLimit === HIGH_UNLIMITED ? Infinity : Math.max(1, tables.highLimit * HIGH_LIMIT_UNIT)
    this.#highLeft = this.#highBudget
  }

  /** A lane in neither table never sends. */
  serves(vl: number): boolean {
    return this.#served.has(vl)
  }

  /** Which lane sends, given the bytes of each lane's first packet (0: none); -1 when nothing waits. */
  pick(headBytes: Int32Array): number {
    if (this.#high.hasWaiting(headBytes)) {
      if (this.#highLeft > 0) return this.#take(this.#high, headBytes, true)
      if (!this.#low.hasWaiting(headBytes)) return this.#take(this.#high, headBytes, true)
    }
    if (!this.#low.hasWaiting(headBytes)) return -1
    this.#highLeft = this.#highBudget
    return this.#take(this.#low, headBytes, false)
  }

  #take(table: WeightedTable, headBytes: Int32Array, isHigh: boolean): number {
    const vl = table.pick(headBytes)
    table.charge(headBytes[vl]!)
    // Only what high sends past a waiting low lane counts; without one it sends as it likes.
    if (isHigh && this.#low.hasWaiting(headBytes)) this.#highLeft -= headBytes[vl]!
    return vl
  }
}

function refuse(what: string, got: number, expected: string): never {
  throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got: String(got), expected })
}
