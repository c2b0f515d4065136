import { describe, expect, it } from 'vitest'
import { AdaptiveWait } from '../../src/workers/wait.ts'

const SPIN_NS = 20_000

/** A processor that comes back so long after it was given away; one turn of the agent takes a microsecond. */
class Processor {
  nowNs = 1e9
  awayNs = 2_000
  gaveWay = 0
  readonly wait = new AdaptiveWait(
    { nowNs: () => this.nowNs },
    () => {
      this.gaveWay++
      this.nowNs += this.awayNs
    },
    SPIN_NS,
  )

  /** A turn; when it parks, it sleeps for `sleepNs`. */
  turn(work: number, sleepNs = 1e6): boolean {
    this.nowNs += 1_000
    const parks = this.wait.shouldPark(work)
    if (parks) {
      this.nowNs += sleepNs
      this.wait.onAwake()
    }
    return parks
  }

  /** What a fault is to the agent: two idle turns, then the answer. How many of them it slept. */
  fault(): number {
    const slept = Number(this.turn(0, 50_000)) + Number(this.turn(0, 50_000))
    this.turn(1)
    return slept
  }

  faults(count: number): number {
    let slept = 0
    for (let i = 0; i < count; i++) slept += this.fault()
    return slept
  }
}

describe('AdaptiveWait', () => {
  it('gives way while an answer is likely, then sleeps', () => {
    const processor = new Processor()
    const gaveWay: number[] = []
    for (let round = 0; round < 3; round++) {
      const before = processor.gaveWay
      while (!processor.turn(0)) if (processor.gaveWay > 1000) break
      gaveWay.push(processor.gaveWay - before)
      processor.turn(1)
    }
    expect(gaveWay).toEqual([7, 7, 7]) // Each idle turn takes 3 µs, of 20.
  })

  it('sleeps where giving way means to lose the processor', () => {
    const processor = new Processor()
    expect(processor.faults(1000)).toBe(0)
    processor.awayNs = 4e6
    expect(processor.faults(1000)).toBeGreaterThan(1900)
  })

  it('tries again less and less often while it is so, and soon gives way again when it is no longer', () => {
    const processor = new Processor()
    processor.awayNs = 4e6
    processor.faults(100)
    const before = processor.gaveWay
    const fromNs = processor.nowNs
    while (processor.nowNs - fromNs < 20e9) processor.fault()
    expect(processor.gaveWay - before).toBeLessThan(120)
    processor.awayNs = 2_000
    const freeNs = processor.nowNs
    while (processor.nowNs - freeNs < 2.1e9) processor.fault()
    expect(processor.faults(1000)).toBe(0)
    processor.awayNs = 4e6 // The next time it begins with short ones.
    processor.faults(3)
    processor.awayNs = 2_000
    const againNs = processor.nowNs
    while (processor.nowNs - againNs < 25e6) processor.fault()
    expect(processor.faults(1000)).toBe(0)
  })

  it('takes one loss for an accident', () => {
    const processor = new Processor()
    let slept = 0
    for (let i = 0; i < 20; i++) {
      processor.awayNs = 4e6
      processor.turn(0)
      processor.awayNs = 2_000
      processor.turn(1)
      slept += processor.faults(200)
    }
    expect(slept).toBe(0)
  })
})
