/** Wiring: one demand agent in one thread. */
import { parentPort } from 'node:worker_threads'
import { CROWD_SLICE_NS, DEMAND_SLICE_NS, QUIET_READ_PAGES_MAX } from '../config.ts'
import { Board } from '../lane/board.ts'
import { DemandAgent } from '../lane/demand-agent.ts'
import { DemandLane } from '../lane/demand-lane.ts'
import { Neighbours } from '../lane/neighbours.ts'
import { PrefaultLane } from '../lane/prefault-lane.ts'
import { SharedChannel } from '../lane/shared-channel.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../lane/stats.ts'
import { isOn } from '../levels.ts'
import { PageTable } from '../memory/page-table.ts'
import { EventFd } from '../native/event-fd.ts'
import { hostClock } from '../native/host-clock.ts'
import { scheduleThread } from '../native/sched.ts'
import { UnixListener } from '../native/unix-socket.ts'
import { schedulingOf } from '../prefault/schedulings.ts'
import { SequentialPolicy } from '../prefault/sequential.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { settleThread } from './affinity.ts'
import { makeDemandWait } from './giving-way.ts'
import { ifAllowed } from './if-allowed.ts'
import type { AttachImage, AttachSettings } from './plans.ts'
import { redialling } from './redialling.ts'
import { APART_GAIN_BESIDE_PREFAULT, Roaming } from './roaming.ts'
import { runAgent } from './run-agent.ts'
import { nextMessage, runWorker } from './run-worker.ts'
import { loadTransport, openLane } from './transports.ts'
import { warmUpDemand } from './warm-up-demand.ts'

await runWorker('demand', parentPort, async (tell) => {
  const plan = await nextMessage<AttachSettings>(parentPort)
  if (!plan) return
  const imageCame = nextMessage<AttachImage>(parentPort) // From here on: a message that nobody listens for is gone.
  const clock = hostClock()
  const transport = await loadTransport(plan.sourceUrl, plan.transportModule)
  const pageSize = plan.pageBytes
  const without = plan.without
  const board = new Board(plan.board)
  const settle = settleThread(plan.affinity)
  if (isOn('class', without)) scheduleThread(0, DEMAND_SLICE_NS)
  // Asleep, the first processor is the right one.
  const mayRoam = settle !== undefined && plan.wait !== 'block'
  const doorbell = board.demandBell({ signal: () => bell.signal(), sleep: (ms) => agent.park(ms) })
  // Before anything real is made, while the image is still being asked about.
  ifAllowed(() =>
    warmUpDemand({
      clock,
      wait: plan.wait,
      mayRoam,
      hasNeighbours: plan.neighbours !== undefined,
      rehearsals: plan.rehearsals,
      isStopped: () => doorbell.isStopped(),
    }),
  )
  const image = await imageCame
  if (!image) return
  const real = openLane(transport, { ...plan, ...image }, 'demand')
  const scheduling = schedulingOf(plan.scheduling, without)
  const isShared = scheduling.isShared && plan.prefault !== 'off'
  const shared = isShared ? new SharedChannel(real) : undefined
  const channel = shared?.demand ?? real
  const table = new PageTable(image.table, image.pageCount)
  const counters = new Counters(DEMAND_COUNTERS, plan.demandCounters)
  const prefaultCounters = new Counters(PREFAULT_COUNTERS, plan.prefaultCounters)
  const stalls = new LatencyHistogram(plan.stalls)
  const promotedWaits = new LatencyHistogram(plan.promotedWaits)
  const prefaultEvent = new EventFd(image.prefaultBellFd)
  const atPrefault = { signal: () => prefaultEvent.signal(), sleep: () => {} }
  const prefaultBell = board.prefaultBell(atPrefault)
  const restBell = board.restBell(atPrefault)
  const { neighbours: home } = plan
  const neighbours = home && new Neighbours(home.memory, home.place)
  const lane = new DemandLane(channel, {
    table,
    board,
    hints: new RingProducer(plan.board.hints),
    counters,
    stalls,
    promotedWaits,
    clock,
    asksTwice: !isOn('promotion', without),
    settlesLate: true,
    onAwaited: () => restBell.wake(),
    neighbours,
  })
  const sharedPrefault = shared
    ? new PrefaultLane(shared.prefault, {
        table,
        board,
        hints: new RingConsumer(plan.board.hints),
        policy: new SequentialPolicy(),
        window: scheduling.window(pageSize),
        counters: prefaultCounters,
        clock,
        readPagesMax: QUIET_READ_PAGES_MAX,
        placesAwaitedFirst: isOn('awaited', without),
        neighbours: isOn('neighbours', without) ? neighbours : undefined,
        onPromotedDone: () => {},
      })
    : undefined
  if (sharedPrefault) shared?.deliverTo(lane, sharedPrefault)
  const bell = new EventFd(image.demandBellFd)
  const givesWay = neighbours !== undefined && isOn('neighbours', without) && isOn('class', without)
  const agent = new DemandAgent({
    listener: new UnixListener(plan.socketPath),
    table,
    board,
    lane,
    sharedPrefault,
    hasPrefaultAgent: plan.prefault !== 'off' && !isShared,
    reopen: redialling((timeoutMs) => {
      const again = transport.open(plan.sourceUrl, 'demand', { pageSize, without, timeoutMs })
      if (!sharedPrefault) return again
      const both = new SharedChannel(again)
      both.deliverTo(lane, sharedPrefault)
      sharedPrefault.replaceChannel(both.prefault) // Looked at again once the channel is whole.
      return both.demand
    }, clock),
    channel,
    dataExtents: image.dataExtents,
    bell,
    prefaultBell,
    clock,
    onLoss: plan.onLoss,
    keep: plan.keep,
    onCrowd: givesWay
      ? (isThere) => scheduleThread(0, isThere ? CROWD_SLICE_NS : DEMAND_SLICE_NS)
      : undefined,
    counters,
    prefaultCounters,
    stalls,
    promotedWaits,
    notify: (event) => tell({ kind: 'agent', event }),
  })
  tell({ kind: 'ready' })
  try {
    const wait = makeDemandWait(plan.wait, clock, isOn('yield', without))
    const faults = counters.indexOf('faults')
    const gain = plan.prefault === 'off' ? undefined : APART_GAIN_BESIDE_PREFAULT
    const roaming = mayRoam ? new Roaming(wait, clock, () => counters.read(faults), settle, gain) : wait
    runAgent(agent, doorbell, roaming, () => agent.isFinished)
  } finally {
    agent.stop() // Whatever ends it: no socket without anybody behind it, and no client without an end.
    prefaultBell.stop() // Nobody is left to let go of: both threads end at the same time.
  }
})
