/** Wiring: a thread that notices when no thread of this machine can run. Not ready: it may not go before others. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicClock } from '../clock.ts'
import { runBeforeAll } from '../native/sched.ts'
import { runWorker } from './run-worker.ts'
import { watch } from './watching.ts'

await runWorker('watcher', parentPort, async (tell) => {
  if (!runBeforeAll()) return
  tell({ kind: 'ready' })
  watch(workerData as Int32Array, monotonicClock)
})
