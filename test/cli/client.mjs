// A client process: one region of the synthetic image (or a sparse one), touched by real threads, every byte checked.
// argv: socket, JSON options. Prints `up`, then one JSON line per finished task; tasks come on standard input or argv.
import { Worker } from 'node:worker_threads'
import { FaultClient } from '../../dist/fault/client.js'

const [socketPath, json = '{}'] = process.argv.slice(2)
const {
  bytes,
  threads = 2,
  mode = 'seq',
  holesFrom = Infinity,
  seconds = 0,
  seed = 1,
  ...options
} = JSON.parse(json)
const client = new FaultClient({ socketPath, bytes, ...options })
process.stdout.write(`up ${process.pid}\n`)
const { address, pageSize } = client
let left = threads
const sum = { touched: 0, wrong: 0, discarded: 0, firstWrong: '' }
for (let thread = 0; thread < threads; thread++) {
  const worker = new Worker(new URL('./toucher.mjs', import.meta.url), {
    workerData: { address, bytes, pageSize, thread, threads, mode, holesFrom, seconds, seed },
  })
  worker.on('message', (result) => {
    for (const key of ['touched', 'wrong', 'discarded']) sum[key] += result[key]
    sum.firstWrong ||= result.firstWrong
    if (--left > 0) return
    process.stdout.write(`${JSON.stringify(sum)}\n`)
    process.exit(sum.wrong > 0 ? 3 : 0)
  })
}
