/** Wiring: one faulting thread of a client that lives in this process. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicClock } from '../clock.ts'
import { Toucher, type ToucherPlan } from '../fault/toucher.ts'
import { runWorker } from './run-worker.ts'

await runWorker(async (tell) => {
  const toucher = new Toucher(workerData as ToucherPlan, monotonicClock)
  tell({ kind: 'ready' })
  tell({ kind: 'toucher-done', result: toucher.run() })
}, parentPort)
