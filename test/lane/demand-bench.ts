import type { FaultSink } from '../../src/fault/fault-source.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane, type DemandLaneParts } from '../../src/lane/demand-lane.ts'
import { DEMAND_COUNTERS } from '../../src/lane/stats.ts'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingProducer } from '../../src/ring/spsc-ring.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../../src/transport/transport.ts'

export const PAGES = 1024
const ADDRESS = 1 << 20

/** A demand lane whose source answers when the test says so, on a clock that the test moves. */
export class DemandBench {
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
  /** Read in the next turn: faults, and removals as pages below zero. */
  readonly events: number[] = []
  /** What the next poll delivers: work id, page, kind. */
  readonly answers: [number, number, number][] = []
  readonly woken: number[] = []
  /** Called when requests are sent. */
  onFlush = () => {}
  /** The channel ends after what the next poll delivers. */
  isBreaking = false

  constructor(options: Pick<DemandLaneParts, 'asksTwice' | 'settlesLate'> = {}) {
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
      flush: () => this.onFlush(),
      poll: (sink: CompletionSink) => {
        const answers = this.answers.splice(0)
        for (const [workId, page, kind] of answers)
          sink.onCompletion(workId, page, 1, kind, kind === 0 ? ADDRESS : 0)
        if (this.isBreaking) throw new Error('the channel has ended')
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
      ...options,
    })
    this.table.reset(0, PAGES, PAGE.MISSING)
    this.board.setRemaining(PAGES)
    const pollFaults = (sink: FaultSink) => {
      const events = this.events.splice(0)
      for (const page of events) page < 0 ? sink.onRemove(-page, 1) : sink.onFault(page)
      return events.length
    }
    const place = (page: number) => (this.placed.push(page) > 0 ? 1 : 0)
    const placer = {
      status: 0,
      place,
      placeZero: place,
      wake: (page: number) => this.woken.push(page) > 0,
      lose: () => {},
    }
    this.lane.begin({ pollFd: -1, pollFaults }, placer)
  }

  turn(): void {
    this.lane.doWork(true, true)
  }
  fault(page: number): void {
    this.events.push(page)
    this.turn()
  }
  answer(page: number, kind: number = COMPLETION.CONTENT): void {
    this.prepareAnswer(page, kind)
    this.turn()
  }
  /** The next poll delivers it. */
  prepareAnswer(page: number, kind: number = COMPLETION.CONTENT): void {
    const at = this.asked.findIndex(([, asked]) => asked === page)
    const [workId] = this.asked.splice(at, 1)[0] as [number, number]
    this.answers.push([workId, page, kind])
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
