import { describe, expect, it } from 'vitest'
import type { FaultSource } from '../../src/fault/fault-source.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane } from '../../src/lane/demand-lane.ts'
import { allocateNeighbours, Neighbourhood, Neighbours } from '../../src/lane/neighbours.ts'
import { PrefaultLane } from '../../src/lane/prefault-lane.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../../src/lane/stats.ts'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'
import { SequentialPolicy } from '../../src/prefault/sequential.ts'
import type { Window } from '../../src/prefault/window.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingConsumer, RingProducer } from '../../src/ring/spsc-ring.ts'
import { type Channel, COMPLETION } from '../../src/transport/transport.ts'

function street(places: number): Neighbours[] {
  const memory = allocateNeighbours(places)
  return Array.from({ length: places }, (_, place) => new Neighbours(memory, place))
}

describe('a neighbourhood', () => {
  it('gives each handler a place, and takes it back', () => {
    const places = new Neighbourhood(2)
    expect([places.join(), places.join()]).toEqual([0, 1])
    expect(() => places.join()).toThrow(/handlers of one neighbourhood: got 3, expected at most 2/)
    places.leave(0)
    expect(places.join()).toBe(0)
  })

  it.each([0, -1, 1.5, 65, Number.NaN])('of %s places is refused', (places) => {
    expect(() => new Neighbourhood(places)).toThrow(/places of a neighbourhood: got .*, expected 1 to 64/)
  })

  it.each([-1, 2, Number.NaN])('has no place %s of 2', (place) => {
    expect(() => new Neighbours(allocateNeighbours(2), place)).toThrow(RangeError)
  })
})

describe('faults elsewhere', () => {
  it('are a number that changes with each, but not with one’s own', () => {
    const [one, two, three] = street(3) as [Neighbours, Neighbours, Neighbours]
    expect(one.faultsElsewhere()).toBe(0)
    two.countFault()
    three.countFault()
    one.countFault()
    expect([one, two, three].map((house) => house.faultsElsewhere())).toEqual([2, 2, 2])
    two.setPending(5)
    one.setPending(7)
    expect([one, two, three].map((house) => house.pendingElsewhere())).toEqual([5, 7, 12])
    two.setPending(0)
    expect([one, two, three].map((house) => house.pendingElsewhere())).toEqual([0, 7, 7])
  })

  it('of one that is alone: none', () => {
    const [alone] = street(1) as [Neighbours]
    alone.countFault()
    alone.setPending(3)
    expect([alone.faultsElsewhere(), alone.pendingElsewhere()]).toEqual([0, 0])
  })

  it('wrap around', () => {
    const memory = allocateNeighbours(2)
    const [one, two] = [new Neighbours(memory, 0), new Neighbours(memory, 1)]
    memory.words[32 + 1] = 2 ** 31 - 1
    expect(one.faultsElsewhere()).toBe(2 ** 31 - 1)
    two.countFault()
    expect(one.faultsElsewhere()).toBe(-(2 ** 31))
  })

  it('are heeded by prefault as its own client’s', () => {
    const [here, there] = street(2) as [Neighbours, Neighbours]
    const board = new Board(allocateBoard())
    const seen: [string, unknown][] = []
    const window: Window = {
      bytes: (pending) => {
        seen.push(['pending', pending])
        return 0
      },
      readPages: (pagesMax) => pagesMax,
      onDemand: (_nowNs, isNear) => seen.push(['fault', isNear]),
      onDemandAnswered: () => {},
      takeRest: () => false,
      onCompletion: () => {},
    }
    const channel = {
      info: { imageId: '', pageSize: 4096, pageCount: 8, dataExtents: null },
      creditsMax: 1,
      readPagesMax: 1,
      credits: 1,
    } as unknown as Channel
    const make = (neighbours: Neighbours | undefined) => {
      const lane = new PrefaultLane(channel, {
        table: PageTable.allocate(8),
        board,
        hints: new RingConsumer(board.memory.hints),
        policy: new SequentialPolicy(),
        window,
        counters: new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length)),
        clock: { nowNs: () => 0 },
        readPagesMax: 1,
        neighbours,
        onPromotedDone: () => {},
      })
      lane.begin({ status: 0, place: () => 0, placeZero: () => 0, wake: () => {}, lose: () => {} })
      return lane
    }
    const [heeding, heedless] = [make(here), make(undefined)]
    for (let i = 0; i < 3; i++) there.countFault()
    there.setPending(3)
    board.setPending(2)
    heedless.doWork()
    expect(seen.splice(0)).toEqual([['pending', 2]])
    heeding.doWork()
    expect(seen.splice(0)).toEqual([
      ['fault', false],
      ['pending', 5],
    ])
    heeding.doWork() // No new one.
    expect(seen.splice(0)).toEqual([['pending', 5]])
    expect([heedless.waiting, heeding.waiting]).toEqual([2, 5])
  })
})

describe('a demand lane tells the neighbours', () => {
  const PAGES = 8

  function open(neighbours: Neighbours) {
    const faulted: number[] = []
    const channel = {
      lane: 'demand',
      info: { imageId: '', pageSize: 4096, pageCount: PAGES, dataExtents: null },
      creditsMax: PAGES,
      readPagesMax: 1,
      credits: PAGES,
      bytesReceived: 0,
      pollFd: -1,
      pollEvents: 0,
      tryPostRead: () => true,
      flush: () => {},
      poll: () => 0,
      armForPark: () => false,
      close: () => {},
    } satisfies Channel
    const board = new Board(allocateBoard())
    const table = PageTable.allocate(PAGES)
    table.reset(0, PAGES, PAGE.MISSING)
    const lane = new DemandLane(channel, {
      table,
      board,
      hints: new RingProducer(board.memory.hints),
      counters: new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length)),
      stalls: new LatencyHistogram(LatencyHistogram.allocate()),
      promotedWaits: new LatencyHistogram(LatencyHistogram.allocate()),
      clock: { nowNs: () => 0 },
      neighbours,
    })
    const faults: FaultSource = {
      pollFd: -1,
      pollFaults: (sink) => {
        const pages = faulted.splice(0)
        for (const page of pages) sink.onFault(page)
        return pages.length
      },
    }
    const begin = () =>
      lane.begin(faults, { status: 0, place: () => 1, placeZero: () => 1, wake: () => {}, lose: () => {} })
    begin()
    const touch = (...pages: number[]) => {
      faulted.push(...pages)
      lane.doWork(true, true)
    }
    return { lane, channel, begin, touch }
  }

  it('each fault, and how many wait', () => {
    const [here, there] = street(2) as [Neighbours, Neighbours]
    const { lane, touch } = open(here)
    touch(3, 5)
    expect([there.faultsElsewhere(), there.pendingElsewhere()]).toEqual([2, 2])
    lane.onCompletion(0, 3, 1, COMPLETION.CONTENT, 4096)
    touch(7)
    expect([there.faultsElsewhere(), there.pendingElsewhere()]).toEqual([3, 2])
  })

  it('of nobody any more once its client has gone, whatever is still in flight for it', () => {
    const [here, there] = street(2) as [Neighbours, Neighbours]
    const { lane, touch, begin } = open(here)
    touch(3, 5)
    lane.end()
    expect(there.pendingElsewhere()).toBe(0)
    lane.onCompletion(0, 3, 1, COMPLETION.CONTENT, 4096)
    expect(there.pendingElsewhere()).toBe(0)
    begin()
    touch(6)
    expect(there.pendingElsewhere()).toBeGreaterThan(0)
  })

  it('of nobody while its source is lost, and of all again when it is back', () => {
    const [here, there] = street(2) as [Neighbours, Neighbours]
    const { lane, channel, touch } = open(here)
    touch(3, 5)
    lane.reclaimReads()
    expect(there.pendingElsewhere()).toBe(0)
    touch(6)
    expect(there.pendingElsewhere()).toBe(0)
    lane.replaceChannel(channel)
    expect(there.pendingElsewhere()).toBe(3)
  })
})
