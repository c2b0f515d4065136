/** Wiring: the demand agent of one LazyMemory in one thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { LazyFaults, LazyPlacer } from '../fault/lazy-faults.ts'
import { Board } from '../lane/board.ts'
import { DemandLane } from '../lane/demand-lane.ts'
import { LazyAgent } from '../lane/lazy-agent.ts'
import { DEMAND_COUNTERS } from '../lane/stats.ts'
import { PageTable } from '../memory/page-table.ts'
import { EventFd } from '../native/event-fd.ts'
import { hostClock } from '../native/host-clock.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { RingProducer } from '../ring/spsc-ring.ts'
import type { LazyPlan } from './plans.ts'
import { redialling } from './redialling.ts'
import { runAgent } from './run-agent.ts'
import { runWorker } from './run-worker.ts'
import { loadTransport, openLane } from './transports.ts'
import { makeWait } from './wait.ts'

await runWorker('lazy', parentPort, async (tell) => {
  const plan = workerData as LazyPlan
  const clock = hostClock()
  const pageSize = plan.pageBytes
  const transport = await loadTransport(plan.sourceUrl, plan.transportModule)
  const channel = openLane(transport, plan, 'demand')
  const board = new Board(plan.board)
  const prefaultEvent = new EventFd(plan.prefaultBellFd)
  const atPrefault = { signal: () => prefaultEvent.signal(), sleep: () => {} }
  const prefaultBell = board.prefaultBell(atPrefault)
  const restBell = board.restBell(atPrefault)
  const bell = new EventFd(plan.demandBellFd)
  const lane = new DemandLane(channel, {
    table: new PageTable(plan.table, plan.pageCount),
    board,
    hints: new RingProducer(plan.board.hints),
    counters: new Counters(DEMAND_COUNTERS, plan.demandCounters),
    stalls: new LatencyHistogram(plan.stalls),
    promotedWaits: new LatencyHistogram(plan.promotedWaits),
    clock,
    onAwaited: () => restBell.wake(),
    onQuiet: () => prefaultBell.wake(),
  })
  const faults = new LazyFaults(plan.lazy)
  lane.begin(faults, new LazyPlacer(plan.lazy))
  const reopen = redialling(
    (timeoutMs) => transport.open(plan.sourceUrl, 'demand', { pageSize, timeoutMs }),
    clock,
  )
  const agent = new LazyAgent({
    lane,
    faults,
    channel,
    reopen,
    bell,
    clock,
    notify: (event) => tell({ kind: 'agent', event }),
  })
  const doorbell = board.demandBell({ signal: () => bell.signal(), sleep: (ms) => agent.park(ms) })
  board.start(-1)
  prefaultBell.wake()
  tell({ kind: 'ready' })
  runAgent(agent, doorbell, makeWait(plan.wait, clock), () => agent.isFinished)
  agent.close()
})
