/** What a road's rate is taken for, and when reads may be long: with made-up completions, in made-up time. */
import { describe, expect, it } from 'vitest'
import { DeliveryRate } from '../../src/prefault/road.ts'

const SHORTEST_NS = 50_000
const READ_BYTES = 32_768
const LATE_NS = SHORTEST_NS + 300_000

/** A read of READ_BYTES comes every `everyNs`, `rttNs` after it was asked for; demand is answered after `demandNs` (0: there is none). */
class Reads {
  readonly rate = new DeliveryRate()
  #nowNs = 0

  /** As many measurements. */
  measure(count: number, everyNs: number, rttNs: number, demandNs: number): void {
    for (let done = 0; done < count; ) {
      this.#nowNs += everyNs
      if (demandNs > 0) this.rate.onDemandAnswered(demandNs)
      if (this.rate.onCompletion(READ_BYTES, rttNs, SHORTEST_NS, 0, this.#nowNs)) done++
    }
  }

  /** Past the startup, at 1 GB/s and so that replies stand in a queue. */
  static started(): Reads {
    const reads = new Reads()
    while (reads.rate.isInStartup) reads.measure(1, READ_BYTES, LATE_NS, 0)
    expect(reads.rate.bytesPerNs).toBeGreaterThan(0.9)
    return reads
  }
}

describe('the rate of a road', () => {
  it('is given up soon where less comes and what comes is late', () => {
    const reads = Reads.started()
    reads.measure(30, 10 * READ_BYTES, LATE_NS, 0)
    expect(reads.rate.bytesPerNs).toBeLessThan(0.2)
  })

  it('is kept where demand is answered at once meanwhile: what is late waits for a processor', () => {
    const reads = Reads.started()
    reads.measure(30, 10 * READ_BYTES, LATE_NS, SHORTEST_NS)
    expect(reads.rate.bytesPerNs).toBeGreaterThan(0.9)
  })

  it('is given up where demand is late, too', () => {
    const reads = Reads.started()
    reads.measure(30, 10 * READ_BYTES, LATE_NS, LATE_NS)
    expect(reads.rate.bytesPerNs).toBeLessThan(0.2)
  })
})

describe('long reads beside demand', () => {
  it('stay while demand passes them undelayed, and end when it does not', () => {
    const reads = Reads.started()
    expect(reads.rate.isWithLongReads).toBe(true) // The first measurement is made with them.
    reads.measure(4, READ_BYTES, LATE_NS, SHORTEST_NS)
    expect(reads.rate.isWithLongReads).toBe(true)
    reads.measure(1, READ_BYTES, LATE_NS, 0) // Nobody faults: nobody is delayed.
    expect(reads.rate.isWithLongReads).toBe(true)
    reads.measure(1, READ_BYTES, LATE_NS, LATE_NS)
    expect(reads.rate.isWithLongReads).toBe(false)
    reads.measure(1, READ_BYTES, LATE_NS, SHORTEST_NS) // Before short reads: that says nothing of long ones.
    expect(reads.rate.isWithLongReads).toBe(false)
  })

  it('do not stay where nobody was there to be delayed', () => {
    const reads = Reads.started()
    reads.measure(1, READ_BYTES, LATE_NS, 0)
    expect(reads.rate.isWithLongReads).toBe(false)
  })

  it('are tried again soon, but not on a slow road', () => {
    const [fast, slow] = [Reads.started(), Reads.started()]
    fast.measure(8, READ_BYTES, LATE_NS, 0)
    expect(fast.rate.isWithLongReads).toBe(true)
    fast.measure(1, READ_BYTES, LATE_NS, SHORTEST_NS)
    expect(fast.rate.isWithLongReads).toBe(true)
    slow.rate.bytesPerNs = 0.01
    slow.measure(8, 50 * READ_BYTES, LATE_NS, 0)
    expect(slow.rate.isWithLongReads).toBe(false)
  })
})
