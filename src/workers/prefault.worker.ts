/** Wiring: one prefault agent in one thread, at a lower scheduling class than the demand agent. */
import { parentPort, workerData } from 'node:worker_threads'
import { PREFAULT_NICE, PREFAULT_SLICE_NS, QUIET_READ_PAGES_MAX } from '../config.ts'
import { Errand } from '../fault/errand.ts'
import { LazyPlacer } from '../fault/lazy-faults.ts'
import { PageByPage } from '../fault/page-by-page.ts'
import { TwinPlacer } from '../fault/twin-placer.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { Board, PHASE } from '../lane/board.ts'
import { Neighbours } from '../lane/neighbours.ts'
import { PrefaultAgent } from '../lane/prefault-agent.ts'
import { PrefaultLane } from '../lane/prefault-lane.ts'
import { restSleep } from '../lane/rest-sleep.ts'
import { Rests } from '../lane/rests.ts'
import { PREFAULT_COUNTERS } from '../lane/stats.ts'
import { isOn } from '../levels.ts'
import { PageTable } from '../memory/page-table.ts'
import { POLL } from '../native/abi.ts'
import { EventFd } from '../native/event-fd.ts'
import { hostClock } from '../native/host-clock.ts'
import { makeNap, PollSet } from '../native/poll-set.ts'
import { allowedProcessors, openThreadTimes, scheduleThread } from '../native/sched.ts'
import { schedulingOf } from '../prefault/schedulings.ts'
import { SequentialPolicy } from '../prefault/sequential.ts'
import { Counters } from '../ring/counters.ts'
import { RingConsumer } from '../ring/spsc-ring.ts'
import { keepAside } from './affinity.ts'
import { awaitReady } from './eager-compiler.ts'
import { ifAllowed } from './if-allowed.ts'
import { openPatiently } from './open-patiently.ts'
import type { AttachPlan, LazyPlan } from './plans.ts'
import { redialling } from './redialling.ts'
import { runAgent } from './run-agent.ts'
import { runWorker } from './run-worker.ts'
import { StandingAside } from './standing-aside.ts'
import { loadTransport, openLane, schemeOf } from './transports.ts'
import { makeGiveWay, makeWait } from './wait.ts'
import { warmUpPrefault, warmUpPrefaultBriefly } from './warm-up-prefault.ts'

/** Of the work before it: a rehearsal does not stand about. */
const REHEARSED_REST_FACTOR = 0.2

await runWorker('prefault', parentPort, async (tell) => {
  const plan = workerData as AttachPlan | LazyPlan
  const clock = hostClock()
  const pageSize = plan.pageBytes
  const without = plan.without
  const transport = await loadTransport(plan.sourceUrl, plan.transportModule)
  const board = new Board(plan.board)
  const home = 'neighbours' in plan ? plan.neighbours : undefined
  const neighbours = home && new Neighbours(home.memory, home.place)
  const rehearsals = 'rehearsals' in plan && schemeOf(plan.sourceUrl) === 'tcp' ? plan.rehearsals : undefined
  const times = rehearsals && openThreadTimes()
  // Only where starving there would be seen.
  const aside = times && 'affinity' in plan ? keepAside(plan.affinity) : undefined
  const makeStrategy = (isRehearsal: boolean) => {
    const wait = makeWait('block', clock)
    if (!aside || !times) return wait
    return new StandingAside(wait, clock, times.read, isRehearsal ? () => {} : aside)
  }
  const giveWay = makeGiveWay(true)
  const nap = makeNap()
  const bell = new EventFd(plan.prefaultBellFd)
  const sleep = restSleep(board, bell)
  const makeRests = (factor?: number) =>
    giveWay && isOn('rests', without) ? new Rests({ clock, giveWay, sleep, factor }) : undefined
  const rehearsed = () => ({
    clock,
    wait: makeStrategy(true),
    rests: makeRests(REHEARSED_REST_FACTOR),
    hasNeighbours: home !== undefined,
  })
  const mayRehearse = rehearsals !== undefined && ifAllowed(() => warmUpPrefaultBriefly(rehearsed()))
  const demandEvent = new EventFd(plan.demandBellFd)
  const demandBell = board.demandBell({ signal: () => demandEvent.signal(), sleep: () => {} })
  let agent: PrefaultAgent | undefined
  const idle = new PollSet(1)
  idle.set(0, bell.fd, POLL.IN)
  const sleepWithoutAgent = (ms: number) => {
    if (idle.wait(ms) > 0) bell.drain()
  }
  const doorbell = board.prefaultBell({
    signal: () => bell.signal(),
    sleep: (ms) => (agent ? agent.park(ms) : sleepWithoutAgent(ms)),
  })
  const open = (timeoutMs?: number) => openLane(transport, plan, 'prefault', timeoutMs)
  // A LazyMemory waits for both lanes. A client does not: who fetches ahead starts when clients may already come.
  const channel = 'lazy' in plan ? open() : openPatiently(open, board, doorbell, demandBell)
  if (!channel) return
  if (isOn('class', without)) scheduleThread(PREFAULT_NICE, PREFAULT_SLICE_NS)
  tell({ kind: 'ready' })
  if (mayRehearse) {
    aside?.(false)
    const faultsBefore = neighbours?.faultsElsewhere()
    // Another client's first faults want the processors, and no eager compiler.
    const hasWork = () =>
      doorbell.isStopped() || board.phase() !== PHASE.IDLE || neighbours?.faultsElsewhere() !== faultsBefore
    awaitReady(rehearsals, hasWork)
    ifAllowed(() => warmUpPrefault(rehearsed(), rehearsals, hasWork))
  }
  const lane = new PrefaultLane(channel, {
    table: new PageTable(plan.table, plan.pageCount),
    board,
    hints: new RingConsumer(plan.board.hints),
    policy: new SequentialPolicy(),
    window: schedulingOf(plan.scheduling, without).window(pageSize),
    counters: new Counters(PREFAULT_COUNTERS, plan.prefaultCounters),
    clock,
    readPagesMax: QUIET_READ_PAGES_MAX,
    placesAwaitedFirst: isOn('awaited', without),
    neighbours: isOn('neighbours', without) ? neighbours : undefined,
    pause: nap,
    onPromotedDone: () => demandBell.wake(),
  })
  const errand = plan.errand && new Errand(plan.errand)
  const processors = 'affinity' in plan && plan.affinity !== 'off' ? allowedProcessors() : []
  agent = new PrefaultAgent({
    board,
    lane,
    channel,
    reopen: redialling(
      (timeoutMs) => transport.open(plan.sourceUrl, 'prefault', { pageSize, without, timeoutMs }),
      clock,
    ),
    makePlacer: () => {
      if ('lazy' in plan) return new LazyPlacer(plan.lazy)
      const userfaultfd = board.userfaultfd()
      const placer = new UffdPlacer(new Userfaultfd(userfaultfd), board.regions)
      if (!isOn('batch', without)) return new PageByPage(placer, pageSize)
      return errand ? new TwinPlacer(placer, errand, userfaultfd, pageSize, processors) : placer
    },
    bell,
    demandBell,
    clock,
    rests: makeRests(),
  })
  runAgent(agent, doorbell, makeStrategy(false), () => false)
  agent.close()
  times?.close()
})
