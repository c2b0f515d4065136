import { describe, expect, it } from 'vitest'
import { APART_GAIN_BESIDE_PREFAULT, Roaming } from '../../src/workers/roaming.ts'

/** A machine on which a fault takes so long, with the source and apart from it, with a client that pauses in between. */
class Machine {
  nowNs = 0
  faults = 0
  isApart = false
  moves = 0
  asked = 0
  readonly roaming: Roaming
  togetherNs: number
  apartNs: number
  pauseNs: number

  constructor(togetherNs: number, apartNs: number, pauseNs = 0, apartGain?: number) {
    this.togetherNs = togetherNs
    this.apartNs = apartNs
    this.pauseNs = pauseNs
    const inner = { shouldPark: () => this.asked++ < 0, onAwake: () => {} }
    this.roaming = new Roaming(
      inner,
      { nowNs: () => this.nowNs },
      () => this.faults,
      (isApart) => {
        this.isApart = isApart
        this.moves++
      },
      apartGain,
    )
  }

  /** Each fault is two turns with work, and some without. */
  fault(count: number): number {
    let apart = 0
    for (let i = 0; i < count; i++) {
      this.faults++
      this.nowNs += (this.isApart ? this.apartNs : this.togetherNs) + this.pauseNs
      for (const work of [1, 0, 0, 1, 0]) this.roaming.shouldPark(work)
      if (this.isApart) apart++
    }
    return apart / count
  }
}

describe('Roaming', () => {
  it('tries both and goes where faults are faster', () => {
    const machine = new Machine(34_000, 24_000)
    machine.fault(520)
    expect(machine.moves).toBeGreaterThanOrEqual(3) // Together, apart, together, apart.
    expect(machine.fault(10_000)).toBe(1)
  })

  it('stays together where that is as fast, or nearly: its tail is shorter', () => {
    for (const apartNs of [119_000, 62_000, 60_000]) {
      const machine = new Machine(62_000, apartNs)
      machine.fault(520)
      expect(machine.fault(10_000)).toBe(0)
    }
  })

  it('asks for more beside prefault', () => {
    for (const [apartNs, share] of [
      [56_000, 0],
      [52_000, 1],
    ] as const) {
      const machine = new Machine(60_000, apartNs, 0, APART_GAIN_BESIDE_PREFAULT)
      machine.fault(520)
      expect(machine.fault(10_000)).toBe(share)
      const without = new Machine(60_000, apartNs)
      without.fault(520)
      expect(without.fault(10_000)).toBe(1)
    }
  })

  it('keeps to the first for a client that faults now and then, and comes back for one that begins to', () => {
    const machine = new Machine(34_000, 24_000, 1_000_000)
    expect(machine.fault(1000)).toBe(0)
    expect(machine.moves).toBe(0)
    machine.pauseNs = 0
    machine.fault(700)
    expect(machine.isApart).toBe(true)
    machine.pauseNs = 1_000_000
    machine.fault(100)
    expect(machine.isApart).toBe(false)
  })

  it('looks again before long: a machine changes', () => {
    const machine = new Machine(34_000, 24_000)
    machine.fault(600)
    expect(machine.isApart).toBe(true)
    machine.apartNs = 35_000
    machine.fault(21_000)
    expect(machine.fault(1000)).toBe(0)
  })

  it('tries again at once when a choice no longer holds, as when the kernel has moved the toucher', () => {
    const machine = new Machine(20_000, 47_000) // The toucher is on the first as well.
    machine.fault(600)
    expect(machine.isApart).toBe(false)
    machine.togetherNs = 47_000 // Now it is on the second.
    machine.apartNs = 20_000
    machine.fault(1000)
    expect(machine.fault(5000)).toBe(1)
  })

  it('is not busy with trials when every choice is outdated before long', () => {
    const machine = new Machine(20_000, 47_000)
    const faults = 40_000
    let trials = 0
    for (let i = 0; i < faults; i += 100) {
      const moved = machine.moves
      machine.fault(100)
      if (machine.moves > moved) trials++
      // Whatever it has chosen turns slow.
      const wasApart = machine.isApart
      machine.togetherNs = wasApart ? 20_000 : 47_000
      machine.apartNs = wasApart ? 47_000 : 20_000
    }
    expect(trials * 100).toBeLessThan(faults / 3)
  })

  it('never divides by no faults, and asks the strategy within for every turn', () => {
    const machine = new Machine(34_000, 24_000)
    for (let turn = 0; turn < 1000; turn++) machine.roaming.shouldPark(1)
    expect(machine.isApart).toBe(false)
    expect(machine.asked).toBe(1000)
  })
})
