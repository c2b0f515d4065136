/** Level `promotion` off: pages that prefault has in flight are asked for again on the demand lane, placed once, and counted apart. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FaultSink } from '../../src/fault/fault-source.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane } from '../../src/lane/demand-lane.ts'
import { DEMAND_COUNTERS } from '../../src/lane/stats.ts'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingProducer } from '../../src/ring/spsc-ring.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../../src/transport/transport.ts'

const PAGES = 1024
const ADDRESS = 1 << 20

/** A demand lane whose source answers when the test says so, on a clock that the test moves. */
class Bench {
  nowNs = 1e9
  readonly table = PageTable.allocate(PAGES)
  readonly board = new Board(allocateBoard())
  readonly counters = new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length))
  readonly stalls = new LatencyHistogram(LatencyHistogram.allocate())
  /** Reads that have been asked for and not answered: work id and page. */
  readonly asked: [number, number][] = []
  readonly placed: number[] = []
  readonly lane: DemandLane
  readonly channel: Channel
  readonly #faults: number[] = []
  readonly #answers: [number, number, number][] = []

  constructor(asksTwice: boolean) {
    this.channel = {
      lane: 'demand',
      info: { imageId: '1', pageSize: 4096, pageCount: PAGES, dataExtents: null },
      readPagesMax: 1,
      creditsMax: 64,
      credits: 64,
      bytesReceived: 0,
      pollFd: -1,
      pollEvents: 0,
      tryPostRead: (workId, page) => this.asked.push([workId, page]) > 0,
      flush: () => {},
      poll: (sink: CompletionSink) => {
        const answers = this.#answers.splice(0)
        for (const [workId, page, kind] of answers)
          sink.onCompletion(workId, page, 1, kind, kind === 0 ? ADDRESS : 0)
        return answers.length
      },
      armForPark: () => false,
      close: () => {},
    }
    this.lane = new DemandLane(this.channel, {
      table: this.table,
      board: this.board,
      hints: new RingProducer(this.board.memory.hints),
      counters: this.counters,
      stalls: this.stalls,
      promotedWaits: new LatencyHistogram(LatencyHistogram.allocate()),
      clock: { nowNs: () => this.nowNs },
      asksTwice,
    })
    this.table.reset(0, PAGES, PAGE.MISSING)
    this.board.setRemaining(PAGES)
    const pollFaults = (sink: FaultSink) => {
      const pages = this.#faults.splice(0)
      for (const page of pages) sink.onFault(page)
      return pages.length
    }
    const place = (page: number) => (this.placed.push(page) > 0 ? 1 : 0)
    const placer = { status: 0, place, placeZero: place, wake: () => {}, lose: () => {} }
    this.lane.begin({ pollFd: -1, pollFaults }, placer)
  }

  turn(): void {
    this.lane.doWork(true, true)
  }
  fault(page: number): void {
    this.#faults.push(page)
    this.turn()
  }
  answer(page: number, kind: number = COMPLETION.CONTENT): void {
    const at = this.asked.findIndex(([, asked]) => asked === page)
    const [workId] = this.asked.splice(at, 1)[0] as [number, number]
    this.#answers.push([workId, page, kind])
    this.turn()
  }
  /** Prefault's copy comes: as its lane does it. */
  prefaultComes(page: number): void {
    for (const from of [PAGE.PREFAULTING, PAGE.PROMOTED])
      if (this.table.tryMove(page, from, PAGE.PRESENT)) this.board.settle(1)
  }
  prefaultAsks(page: number): void {
    this.table.tryMove(page, PAGE.MISSING, PAGE.PREFAULTING)
  }
  get pagesAsked(): number[] {
    return this.asked.map(([, page]) => page)
  }
  get hedged(): number {
    return this.counters.snapshot().hedged
  }
}

describe('a promoted page', () => {
  it('is waited for, and without promotion asked for at once', () => {
    for (const [asksTwice, asked] of [
      [false, []],
      [true, [7]],
    ] as const) {
      const bench = new Bench(asksTwice)
      bench.prefaultAsks(7)
      bench.fault(7)
      expect(bench.pagesAsked).toEqual(asked)
      expect(bench.hedged).toBe(asked.length)
      expect(bench.table.state(7)).toBe(PAGE.PROMOTED)
    }
  })

  it('whose second copy comes first is placed, and its stall told, once', () => {
    const bench = new Bench(true)
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.fault(7) // Another thread: nobody asks a third time.
    expect(bench.pagesAsked).toEqual([7])
    bench.answer(7)
    expect([bench.placed, bench.table.state(7), bench.hedged]).toEqual([[7], PAGE.PRESENT, 1])
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.board.remaining()).toBe(PAGES - 1)
    expect(bench.stalls.snapshot().count).toBe(1)
    expect(bench.lane.pending).toBe(0)
  })

  it('that comes before its second copy is not placed again', () => {
    const bench = new Bench(true)
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.prefaultComes(7)
    bench.answer(7)
    expect(bench.placed).toEqual([])
    expect(bench.counters.snapshot()).toMatchObject({ demanded: 0, hedged: 1, duplicate: 0 })
    expect(bench.board.remaining()).toBe(PAGES - 1)
    expect(bench.lane.pending).toBe(0)
  })

  it('whose second copy cannot be read is still prefault’s', () => {
    const bench = new Bench(true)
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.answer(7, COMPLETION.ERROR)
    expect(bench.table.state(7)).toBe(PAGE.PROMOTED)
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.counters.snapshot()).toMatchObject({ errors: 0, hedged: 1 })
    expect(bench.lane.pending).toBe(0)
  })

  it('is not asked for a third time when the demand channel breaks', () => {
    const bench = new Bench(true)
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.lane.reclaimReads()
    expect(bench.lane.pending).toBe(1) // It waits for prefault alone.
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.lane.pending).toBe(0)
  })
})

describe('second requests', () => {
  it('end every page once, in whatever order the copies come', () => {
    const step = fc.record({
      page: fc.nat(15),
      what: fc.constantFrom('fault', 'prefault', 'answer', 'comes', 'cut'),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const bench = new Bench(true)
        const owed = new Set<number>() // What prefault has in flight.
        for (const { page, what } of steps) {
          if (what === 'fault') bench.fault(page)
          if (what === 'prefault' && bench.table.state(page) === PAGE.MISSING) {
            bench.prefaultAsks(page)
            owed.add(page)
          }
          if (what === 'answer' && bench.pagesAsked.includes(page)) bench.answer(page)
          if (what === 'comes' && owed.delete(page)) bench.prefaultComes(page)
          if (what === 'cut') {
            bench.asked.splice(0)
            bench.lane.reclaimReads()
            bench.lane.replaceChannel(bench.channel)
          }
        }
        for (const page of owed) bench.prefaultComes(page)
        for (bench.turn(); bench.asked.length > 0; ) bench.answer(bench.pagesAsked[0] as number)
        bench.turn()
        expect(bench.lane.pending).toBe(0)
        expect(bench.board.remaining()).toBe(PAGES - bench.table.count(PAGE.PRESENT))
        expect(new Set(bench.placed).size).toBe(bench.placed.length)
      }),
    )
  })
})
