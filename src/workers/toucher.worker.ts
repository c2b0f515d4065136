/** Wiring: one faulting thread of a client that lives in this process. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicClock } from '../clock.ts'
import { measureFirstTouchNs } from '../fault/first-touch.ts'
import { Toucher } from '../fault/toucher.ts'
import type { ToucherStart } from './plans.ts'
import { runWorker } from './run-worker.ts'
import { warmUpToucher } from './warm-up-toucher.ts'

await runWorker('toucher', parentPort, async (tell) => {
  const { plan, rehearsals } = workerData as ToucherStart
  const toucher = new Toucher(plan, monotonicClock)
  warmUpToucher(toucher, plan, rehearsals)
  toucher.learn(measureFirstTouchNs(monotonicClock))
  tell({ kind: 'ready' })
  tell({ kind: 'toucher-done', result: toucher.run(plan) })
})
