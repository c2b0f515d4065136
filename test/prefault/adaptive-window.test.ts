/**
 * The window on a simulated road: one first-in-first-out link of a rate and a round trip, and a pull that keeps as
 * much in flight as the window says. Deterministic; jitter is drawn from a seed.
 */
import { describe, expect, it } from 'vitest'
import { AdaptiveWindow } from '../../src/prefault/adaptive-window.ts'

const PAGE = 4096
const PAGES_MAX = 16

interface Road {
  /** Bits per second. */
  readonly rate: number
  readonly rttNs: number
  /** Each reply is late by up to this, evenly drawn: what schedulers do. */
  readonly jitterNs: number
  /** The puller looks at its replies so much later than the first of them came, at most, evenly drawn. Default: 0. */
  readonly lateNs?: number
}

interface Seen {
  /** Of the link's capacity, 0 to 1. */
  readonly share: number
  /** Of the whole run, its beginning included. */
  readonly mostQueueNs: number
  /** What a demand reply that came now would find ahead of it, ns. */
  readonly meanQueueNs: number
  readonly p99QueueNs: number
}

interface Reply {
  readonly atNs: number
  readonly sentNs: number
  readonly bytes: number
}

class Pull {
  readonly window = new AdaptiveWindow(PAGE, PAGES_MAX)
  nowNs = 0
  #inFlight = 0
  #linkFreeNs = 0
  #random: number
  readonly #replies: Reply[] = []

  constructor(seed: number) {
    this.#random = seed | 1
  }

  #draw(): number {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0
    return this.#random / 2 ** 32
  }

  /** Goes on for `durationNs`; with `demandEveryNs` a fault comes as often. The first tenth is not counted. */
  run(road: Road, durationNs: number, demandEveryNs = Infinity): Seen {
    const startNs = this.nowNs
    const nsPerByte = 8e9 / road.rate
    const queues: number[] = []
    let bytes = 0
    let mostQueueNs = 0
    let nextDemandNs = startNs
    while (this.nowNs < startNs + durationNs) {
      if (this.nowNs >= nextDemandNs && demandEveryNs < Infinity) {
        this.window.onDemand(this.nowNs, false)
        nextDemandNs += demandEveryNs
      }
      for (;;) {
        const free = this.window.bytes(0, this.nowNs) - this.#inFlight
        const pages = Math.min(this.window.readPages(PAGES_MAX, this.nowNs), Math.floor(free / PAGE))
        if (pages < 1) break
        const beginNs = Math.max(this.nowNs + road.rttNs / 2, this.#linkFreeNs)
        this.#linkFreeNs = beginNs + pages * PAGE * nsPerByte
        const atNs = this.#linkFreeNs + road.rttNs / 2 + this.#draw() * road.jitterNs
        this.#replies.push({ atNs, sentNs: this.nowNs, bytes: pages * PAGE })
        this.#inFlight += pages * PAGE
      }
      this.#replies.sort((a, b) => a.atNs - b.atNs)
      const first = this.#replies[0]
      if (!first) throw new Error('nothing is in flight: the window is shut')
      this.nowNs = Math.max(this.nowNs, first.atNs) + this.#draw() * (road.lateNs ?? 0)
      while ((this.#replies[0]?.atNs ?? Infinity) <= this.nowNs) {
        const reply = this.#replies.shift() as Reply
        this.#inFlight -= reply.bytes
        this.window.onCompletion(reply.bytes, this.nowNs - reply.sentNs, this.nowNs)
        if (this.nowNs >= startNs + durationNs / 10) bytes += reply.bytes
      }
      const queueNs = Math.max(0, this.#linkFreeNs - this.nowNs - road.rttNs / 2)
      mostQueueNs = Math.max(mostQueueNs, queueNs)
      if (this.nowNs >= startNs + durationNs / 10) queues.push(queueNs)
    }
    queues.sort((a, b) => a - b)
    return {
      share: (bytes * nsPerByte) / (durationNs * 0.9),
      mostQueueNs,
      meanQueueNs: queues.reduce((sum, queue) => sum + queue, 0) / queues.length,
      p99QueueNs: queues[Math.floor(queues.length * 0.99)] as number,
    }
  }
}

const GBIT = 1e9
const roads: [string, Road][] = [
  // A read takes longer here than a measurement does anywhere else.
  ['10 Mbit/s, 10 ms', { rate: GBIT / 100, rttNs: 10e6, jitterNs: 50e3 }],
  ['100 Mbit/s, 1 ms', { rate: GBIT / 10, rttNs: 1e6, jitterNs: 50e3 }],
  ['1 Gbit/s, 50 µs', { rate: GBIT, rttNs: 50e3, jitterNs: 10e3 }],
  ['1 Gbit/s, 200 µs', { rate: GBIT, rttNs: 200e3, jitterNs: 20e3 }],
  ['1 Gbit/s, 1 ms', { rate: GBIT, rttNs: 1e6, jitterNs: 50e3 }],
  ['10 Gbit/s, 50 µs', { rate: 10 * GBIT, rttNs: 50e3, jitterNs: 5e3 }],
  ['10 Gbit/s, 1 ms', { rate: 10 * GBIT, rttNs: 1e6, jitterNs: 50e3 }],
]

/** Where a long queue is one of milliseconds, and not of the round trip. */
const shortRoads = roads.filter(([, road]) => road.rate >= GBIT && road.rttNs <= 200e3)

describe('the adaptive window', () => {
  it.each(roads)('fills %s, demand or not, and queues no more than a few reads', (_, road) => {
    const pageNs = (PAGE * 8e9) / road.rate
    const quiet = new Pull(7).run(road, 2e9)
    expect(quiet.share).toBeGreaterThan(0.9)
    expect(quiet.meanQueueNs).toBeLessThan(4 * PAGES_MAX * pageNs + road.jitterNs)
    const beside = new Pull(8).run(road, 2e9, 1e6)
    expect(beside.share).toBeGreaterThan(0.85)
    // While demand is active a read is 100 µs of road, or one page where that takes longer.
    expect(beside.meanQueueNs).toBeLessThan(3 * Math.max(100e3, pageNs) + 2 * road.jitterNs)
  })

  it.each(roads)('learns the rate of %s beside active demand without a long queue', (_, road) => {
    const pageNs = (PAGE * 8e9) / road.rate
    // Faults without a break, from the first on.
    const start = new Pull(9).run(road, 100 * Math.max(road.rttNs, 1e6), 100e3)
    // What is too much shows in the replies a round trip later, after two more doublings.
    expect(start.mostQueueNs).toBeLessThan(8 * (road.rttNs + road.jitterNs + 4 * pageNs))
  })

  it.each(shortRoads)('lets the queue of its start on %s run off before it tries long reads', (_, road) => {
    // From 2 to 20 ms.
    expect(new Pull(9).run(road, 20e6, 100e3).meanQueueNs).toBeLessThan(100e3)
  })

  describe('beside faults that come one upon the other on a slow road', () => {
    const road = { rate: GBIT, rttNs: 200e3, jitterNs: 20e3 }
    const pageNs = (PAGE * 8e9) / GBIT
    const pagesBeside = (pull: Pull, pending: number) =>
      Math.floor(pull.window.bytes(pending, pull.nowNs) / PAGE)

    it('queues less than a page, and fills the road', () => {
      const pull = new Pull(15)
      const light = pull.run(road, 2e9, 1e6)
      const dense = pull.run(road, 2e9, 100e3)
      expect(light.meanQueueNs).toBeGreaterThan(pageNs)
      expect(dense.meanQueueNs).toBeLessThan(pageNs)
      expect(dense.share).toBeGreaterThan(0.9)
    })

    it('queues more where many stand still, and soon after the last fault', () => {
      const pull = new Pull(15)
      pull.run(road, 2e9, 100e3)
      const few = pagesBeside(pull, 1)
      expect(pagesBeside(pull, 16)).toBeGreaterThan(few)
      pull.nowNs += 1e6
      expect(pagesBeside(pull, 1)).toBeGreaterThan(few)
    })

    it('has a share beside a crowd: more in flight, the more stand still', () => {
      const pull = new Pull(15)
      pull.run(road, 2e9, 100e3)
      expect(pagesBeside(pull, 32) - pagesBeside(pull, 16)).toBeGreaterThanOrEqual(5)
      pull.window.onDemand(pull.nowNs, false, true) // A neighbour's: the crowd may be its, or it stands behind.
      expect(pagesBeside(pull, 32)).toBe(pagesBeside(pull, 16))
      pull.run(road, 50e6, 100e3) // It faults no more.
      expect(pagesBeside(pull, 32) - pagesBeside(pull, 16)).toBeGreaterThanOrEqual(5)
      pull.nowNs += 1e6 // The last fault is long ago.
      expect(pagesBeside(pull, 32)).toBe(pagesBeside(pull, 16))
    })

    it('queues as ever where little of the road is left to it', () => {
      const pull = new Pull(15)
      pull.run(road, 2e9, 100e3)
      const [few, asEver] = [1, 5] // Threads: a crowd of five has no more than what is queued anyhow.
      expect(pagesBeside(pull, few)).toBeLessThan(pagesBeside(pull, asEver))
      pull.run({ ...road, lateNs: 4e6 }, 30e6, 100e3)
      pull.window.onDemand(pull.nowNs - 50e3, false)
      pull.window.onDemand(pull.nowNs, false)
      expect(pagesBeside(pull, few)).toBe(pagesBeside(pull, asEver))
    })
  })

  it('does not take its own queue for distance, however long it goes on', () => {
    const road = { rate: GBIT, rttNs: 100e3, jitterNs: 10e3 }
    const pull = new Pull(3)
    const early = pull.run(road, 2e9, 1e6)
    pull.run(road, 30e9, 1e6)
    const late = pull.run(road, 2e9, 1e6)
    expect(late.meanQueueNs).toBeLessThan(early.meanQueueNs * 1.5 + 20e3)
  })

  it('notices a road that has become longer, and one that has become shorter', () => {
    const short = { rate: GBIT, rttNs: 100e3, jitterNs: 5e3 }
    const long = { rate: GBIT, rttNs: 2e6, jitterNs: 5e3 }
    const pull = new Pull(5)
    pull.run(short, 2e9, 1e6)
    pull.run(long, 12e9, 1e6) // Time for a new measurement.
    expect(pull.run(long, 2e9, 1e6).share).toBeGreaterThan(0.85)
    pull.run(short, 6e9, 1e6) // Its old queue looks like the old distance until then.
    const back = pull.run(short, 2e9, 1e6)
    expect(back.share).toBeGreaterThan(0.85)
    expect(back.meanQueueNs).toBeLessThan(300e3)
  })

  it.each([100e3, 400e3])('goes on filling the road where its thread comes up to %i ns late', (lateNs) => {
    const road = { rate: GBIT, rttNs: 200e3, jitterNs: 20e3, lateNs }
    const pull = new Pull(11)
    const all = pull.run(road, 10e9, 1e6)
    // In flight is what the road holds and what it carries in 2 × 45 µs: so much comes back in a round trip and half the lateness.
    const inTime = (200e3 + 90e3) / (200e3 + 32.8e3 + lateNs / 2)
    expect(all.share).toBeGreaterThan(0.75 * Math.min(1, inTime))
    expect(all.meanQueueNs).toBeLessThan(300e3)
  })

  it('gives up a rate that the road no longer has', () => {
    const pull = new Pull(13)
    pull.run({ rate: 10 * GBIT, rttNs: 200e3, jitterNs: 20e3 }, 2e9, 1e6)
    const slow = { rate: GBIT, rttNs: 200e3, jitterNs: 20e3 }
    pull.run(slow, 1e9, 1e6)
    const after = pull.run(slow, 2e9, 1e6)
    expect(after.share).toBeGreaterThan(0.85)
    expect(after.meanQueueNs).toBeLessThan(400e3)
  })
})
