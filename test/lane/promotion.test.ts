import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PLACED } from '../../src/fault/fault-source.ts'
import { LazyFaults, LazyPlacer } from '../../src/fault/lazy-faults.ts'
import { allocateLazyMemory, type LazyDescription } from '../../src/fault/lazy-layout.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane } from '../../src/lane/demand-lane.ts'
import { PrefaultLane } from '../../src/lane/prefault-lane.ts'
import { waitFigures } from '../../src/lane/session-report.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../../src/lane/stats.ts'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'
import { SCHEDULINGS } from '../../src/prefault/schedulings.ts'
import { SequentialPolicy } from '../../src/prefault/sequential.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingConsumer, RingProducer } from '../../src/ring/spsc-ring.ts'
import { transport } from '../../src/transport/tcp/index.ts'
import type { Channel } from '../../src/transport/transport.ts'

const PAGES = 64
const PAGE_BYTES = 4096

describe('a fault on a page that prefault has in flight', () => {
  let source: ChildProcess
  let channels: readonly [Channel, Channel]
  let nowNs: number
  let board: Board
  let table: PageTable
  let counters: Counters<(typeof DEMAND_COUNTERS)[number]>
  let stalls: LatencyHistogram
  let promotedWaits: LatencyHistogram
  let demand: DemandLane
  let prefault: PrefaultLane
  let makePrefault: (placesAwaitedFirst: boolean) => PrefaultLane
  let prefaultCounters: Counters<(typeof PREFAULT_COUNTERS)[number]>
  let promotedDone: number
  let awaited = 0
  let lazy: LazyDescription
  /** Where prefault's placements go; a test may have them refused. */
  let placer: LazyPlacer

  beforeEach(async () => {
    const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
    const size = `${(PAGES * PAGE_BYTES) / 1024}KiB`
    const args = ['serve', '--synthetic', size, '--listen', 'tcp://127.0.0.1:0']
    source = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'inherit', 'pipe'] })
    const [line] = await once(source.stderr!, 'data')
    const url = /tcp:\S+/.exec(String(line))?.[0] as string
    channels = [transport.open(url, 'demand'), transport.open(url, 'prefault')]
    nowNs = 1e9
    const clock = { nowNs: () => nowNs }
    lazy = allocateLazyMemory(PAGES * PAGE_BYTES, PAGE_BYTES)
    board = new Board(allocateBoard())
    table = PageTable.allocate(PAGES)
    table.reset(0, PAGES, PAGE.MISSING)
    board.setRemaining(PAGES)
    counters = new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length))
    stalls = new LatencyHistogram(LatencyHistogram.allocate())
    promotedWaits = new LatencyHistogram(LatencyHistogram.allocate())
    prefaultCounters = new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length))
    promotedDone = 0
    const hints = new RingProducer(board.memory.hints)
    awaited = 0
    demand = new DemandLane(channels[0], {
      table,
      board,
      hints,
      counters,
      stalls,
      promotedWaits,
      clock,
      onAwaited: () => {
        awaited++
        expect(board.promoted()).toBeGreaterThan(0)
      },
    })
    demand.begin(new LazyFaults(lazy), new LazyPlacer(lazy))
    makePrefault = (placesAwaitedFirst) =>
      new PrefaultLane(channels[1], {
        table,
        board,
        hints: new RingConsumer(board.memory.hints),
        policy: new SequentialPolicy(),
        window: SCHEDULINGS.S1.window(),
        counters: prefaultCounters,
        clock,
        readPagesMax: 16,
        placesAwaitedFirst,
        onPromotedDone: () => {
          promotedDone++
        },
      })
    prefault = makePrefault(true)
    placer = new LazyPlacer(lazy)
    prefault.begin(placer)
  })
  afterEach(async () => {
    for (const channel of channels) channel.close()
    source.kill('SIGKILL')
    await once(source, 'exit')
  })

  async function stepUntil(lane: () => number, holds: () => boolean): Promise<void> {
    for (; !holds(); await new Promise(setImmediate)) lane()
  }

  it('is timed from its being read to its page’s being placed, however late that is seen, apart from what demand fetched', async () => {
    demand.onFault(40)
    prefault.doWork()
    expect(table.state(7)).toBe(PAGE.PREFAULTING)
    nowNs += 102_400
    demand.onFault(7)
    expect(table.state(7)).toBe(PAGE.PROMOTED)
    demand.onFault(7) // Another thread on the same page: it joins, and is no second wait.
    nowNs += 256_000
    await stepUntil(
      () => prefault.doWork(),
      () => table.state(7) === PAGE.PRESENT,
    )
    expect(waitFigures(promotedWaits.snapshot()).count).toBe(0)
    nowNs += 70_400
    await stepUntil(
      () => demand.doWork(true, false),
      () => table.state(40) === PAGE.PRESENT && demand.pending === 0,
    )
    const { count, max } = waitFigures(promotedWaits.snapshot())
    expect([count, max]).toEqual([1, 256_000])
    expect([stalls.count(), stalls.maxNs()]).toEqual([2, 428_800])
    expect(counters.snapshot()).toMatchObject({
      faults: 3,
      promoted: 1,
      joined: 1,
      demanded: 1,
      duplicate: 0,
    })
  })

  it.each([false, true])(
    'goes before the rest of its read, and nothing twice (the rest kept back first: %s)',
    async (isKept) => {
      const calls: [page: number, pages: number][] = []
      const place = placer.place.bind(placer)
      let refuses = isKept ? 1 : 0
      placer.place = (page, pages, address) => {
        if (pages > 1 && refuses-- > 0) {
          placer.status = PLACED.AGAIN
          return 0
        }
        calls.push([page, pages])
        return place(page, pages, address)
      }
      prefault.doWork()
      for (const page of [9, 12]) demand.onFault(page)
      board.setPending(demand.pending) // As the turn does that has read them.
      expect([table.state(9), table.state(12)]).toEqual([PAGE.PROMOTED, PAGE.PROMOTED])
      await stepUntil(
        () => {
          nowNs += 1e6
          return prefault.doWork()
        },
        () => table.count(PAGE.PRESENT) === PAGES,
      )
      expect(calls.slice(0, 2)).toEqual([
        [9, 1],
        [12, 1],
      ])
      const placed = calls.flatMap(([page, pages]) => Array.from({ length: pages }, (_, i) => page + i))
      expect(placed.sort((a, b) => a - b)).toEqual(Array.from({ length: PAGES }, (_, page) => page))
      if (!isKept) expect(calls).toContainEqual([0, 9])
      expect(prefaultCounters.snapshot()).toMatchObject({ prefaulted: PAGES, late: 2, duplicate: 0 })
      expect(promotedDone).toBe(2)
    },
  )

  it('keeps prefault from resting until it has come', async () => {
    const rests: boolean[] = []
    demand.onFault(40)
    prefault.doWork()
    demand.doWork(false, false)
    rests.push(prefault.isAwaited)
    expect(awaited).toBe(0)
    demand.onFault(7)
    await stepUntil(
      () => demand.doWork(true, false),
      () => table.state(40) === PAGE.PRESENT,
    )
    rests.push(prefault.isAwaited)
    await stepUntil(
      () => prefault.doWork() + demand.doWork(true, false),
      () => demand.pending === 0,
    )
    rests.push(prefault.isAwaited)
    expect(rests).toEqual([false, true, false])
    expect(awaited).toBe(1)
  })

  it('is placed in its turn without level `awaited`', async () => {
    prefault.end()
    prefault = makePrefault(false)
    const first: number[] = []
    const place = placer.place.bind(placer)
    placer.place = (page, pages, address) => {
      first.push(page)
      return place(page, pages, address)
    }
    prefault.begin(placer)
    prefault.doWork()
    demand.onFault(9)
    board.setPending(demand.pending)
    await stepUntil(
      () => prefault.doWork(),
      () => table.count(PAGE.PRESENT) === PAGES,
    )
    expect(first).toEqual([0, 16, 32, 48])
    expect(prefaultCounters.snapshot()).toMatchObject({ prefaulted: PAGES, late: 1, duplicate: 0 })
  })

  it('that has been placed is no loss when the client is gone for the rest of its read', async () => {
    const place = placer.place.bind(placer)
    placer.place = (page, pages, address) => {
      if (page === 9) return place(page, pages, address)
      placer.status = PLACED.GONE
      return 0
    }
    prefault.doWork()
    demand.onFault(9)
    board.setPending(demand.pending)
    await stepUntil(
      () => prefault.doWork(),
      () => prefault.isClientGone && prefault.readsInFlight === 0,
    )
    expect([table.state(9), table.count(PAGE.PRESENT), table.count(PAGE.LOST)]).toEqual([
      PAGE.PRESENT,
      1,
      PAGES - 1,
    ])
    expect(prefaultCounters.snapshot()).toMatchObject({ prefaulted: 1, refused: PAGES - 1, duplicate: 0 })
    expect(promotedDone).toBe(1)
  })

  it('that the client gives back meanwhile, or that prefault loses, was no wait for prefault', async () => {
    prefault.doWork()
    for (const page of [3, 4]) {
      expect(table.state(page)).toBe(PAGE.PREFAULTING)
      demand.onFault(page)
    }
    demand.onRemove(3, 1)
    channels[1].close()
    prefault.reclaimReads()
    expect([table.state(3), table.state(4)]).toEqual([PAGE.REMOVED, PAGE.LOST])
    await stepUntil(
      () => demand.doWork(true, false),
      () => table.state(4) === PAGE.PRESENT && demand.pending === 0,
    )
    expect([stalls.count(), promotedWaits.count()]).toEqual([2, 0])
  })

  it.each([1, 0])(
    'that prefault cannot place is demand’s, and prefault goes no further (kept back first: %i)',
    async (kept) => {
      prefault.doWork()
      demand.onFault(5)
      expect(table.state(5)).toBe(PAGE.PROMOTED)
      let refusals = 0
      placer.place = () => {
        placer.status = refusals++ < kept ? PLACED.AGAIN : PLACED.GONE
        return 0
      }
      await stepUntil(
        () => {
          nowNs += 1e6
          return prefault.doWork()
        },
        () => prefault.isClientGone && prefault.readsInFlight === 0 && !prefault.hasOwnWork,
      )
      // Every page that it had asked for is somebody's again, and counted.
      expect(table.find(PAGE.PREFAULTING, 0, PAGES)).toBe(PAGES)
      expect(table.find(PAGE.PROMOTED, 0, PAGES)).toBe(PAGES)
      expect(promotedDone).toBe(1)
      expect(prefaultCounters.snapshot()).toMatchObject({ refused: PAGES, errors: 0 })
      expect(prefault.doWork()).toBe(0)
      await stepUntil(
        () => demand.doWork(true, false),
        () => table.state(5) === PAGE.PRESENT && demand.pending === 0,
      )
      demand.onFault(9)
      await stepUntil(
        () => demand.doWork(true, false),
        () => table.state(9) === PAGE.PRESENT,
      )
    },
  )

  it('by a read for a client that is gone is asked for anew: nothing of the last client’s is placed', async () => {
    demand.onFault(40)
    prefault.doWork()
    for (const lane of [demand, prefault]) lane.end()
    table.reset(0, PAGES, PAGE.MISSING)
    let placements = 0
    const count = Object.assign(new LazyPlacer(lazy), {
      place: (_: number, pages: number) => {
        placements += pages
        return pages
      },
    })
    demand.begin(new LazyFaults(lazy), count)
    prefault.begin(count)
    // Late replies of the last client come in first; both lanes then bring this one's pages.
    demand.onFault(40)
    await stepUntil(
      () => prefault.doWork() + demand.doWork(true, false),
      () =>
        table.find(PAGE.MISSING, 0, PAGES) === PAGES && prefault.readsInFlight + demand.readsInFlight === 0,
    )
    expect(placements).toBe(PAGES)
    expect([counters.snapshot().duplicate, prefaultCounters.snapshot().duplicate]).toEqual([0, 0])
  })

  it('charges no client with what one before it had in flight', async () => {
    const bytes = () => [counters, prefaultCounters].map((each) => each.snapshot().bytesReceived)
    demand.onFault(40)
    demand.doWork(false, false)
    prefault.doWork()
    const asked = prefault.readsInFlight
    expect(asked).toBeGreaterThan(0)
    demand.end()
    prefault.end()
    const before = bytes()
    table.reset(0, PAGES, PAGE.MISSING)
    demand.begin(new LazyFaults(lazy), new LazyPlacer(lazy))
    prefault.begin(placer)
    demand.onFault(63)
    await stepUntil(
      () => demand.doWork(true, false) + prefault.doWork(),
      () => table.count(PAGE.PRESENT) === PAGES && demand.pending === 0 && prefault.readsInFlight === 0,
    )
    const after = bytes()
    const brought = after.reduce((sum, each, lane) => sum + each - before[lane]!, 0)
    expect(brought).toBe(PAGES * PAGE_BYTES)
  })
})
