/** Wiring: the second hand of a prefault lane, in a thread of its own and of the lane's class. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicClock } from '../clock.ts'
import { PREFAULT_NICE, PREFAULT_SLICE_NS } from '../config.ts'
import { Errand } from '../fault/errand.ts'
import { Board } from '../lane/board.ts'
import { PlacingAgent } from '../lane/placing-agent.ts'
import { isOn } from '../levels.ts'
import { libc } from '../native/libc.ts'
import { scheduleThread } from '../native/sched.ts'
import type { AttachPlan } from './plans.ts'
import { runAgent } from './run-agent.ts'
import { runWorker } from './run-worker.ts'
import { AdaptiveWait } from './wait.ts'

/** Between two errands of a pull that goes on there are some 100 µs, as long as a processor that sleeps takes to wake. */
const SPIN_NS = 500_000

await runWorker('placing', parentPort, async (tell) => {
  const plan = workerData as AttachPlan
  const errand = new Errand(plan.errand as Int32Array)
  if (isOn('class', plan.without)) scheduleThread(PREFAULT_NICE, PREFAULT_SLICE_NS)
  errand.helper = libc().gettid()
  tell({ kind: 'ready' })
  const agent = new PlacingAgent(errand, new Board(plan.board))
  runAgent(agent, errand.bell, new AdaptiveWait(monotonicClock, libc().sched_yield, SPIN_NS), () => false)
})
