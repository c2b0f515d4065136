// A client process: one region of the synthetic image (or a sparse one), touched by real threads, every byte checked.
// argv: socket, JSON options. Prints `up` and its pid, then one JSON line when all threads are through.
import { Worker } from 'node:worker_threads'
import { FaultClient } from '../../dist/fault/client.js'

const [socketPath, json = '{}'] = process.argv.slice(2)
const {
  bytes,
  threads = 2,
  mode = 'seq',
  holesFrom = Infinity,
  seconds = 0,
  thinkMs = 0,
  seed = 1,
  ...options
} = JSON.parse(json)
// The threads are there before the memory is, so that they touch it from the first moment of the session.
const gate = new BigInt64Array(new SharedArrayBuffer(16))
const pageSize = options.hugePages ? 2 << 20 : 4096
let left = threads
let starting = threads
const sum = { touched: 0, wrong: 0, discarded: 0, firstWrong: '' }
for (let thread = 0; thread < threads; thread++) {
  const worker = new Worker(new URL('./toucher.mjs', import.meta.url), {
    workerData: { gate, bytes, pageSize, thread, threads, mode, holesFrom, seconds, thinkMs, seed },
  })
  worker.on('message', (result) => {
    if (result === 'here') {
      if (--starting > 0) return
      const client = new FaultClient({ socketPath, bytes, ...options })
      process.stdout.write(`up ${process.pid}\n`)
      Atomics.store(gate, 0, BigInt(client.address))
      Atomics.notify(gate, 0)
      return
    }
    for (const key of ['touched', 'wrong', 'discarded']) sum[key] += result[key]
    sum.firstWrong ||= result.firstWrong
    if (--left > 0) return
    process.stdout.write(`${JSON.stringify(sum)}\n`)
    process.exit(sum.wrong > 0 ? 3 : 0)
  })
}
