// A client of 64 GiB that touches its few data pages, holes beside them, and waits for its session to end.
import { Worker } from 'node:worker_threads'
import { FaultClient } from '../../dist/fault/client.js'

const GIB = 2 ** 30
const { address, pageSize } = new FaultClient({ socketPath: process.argv[2], bytes: 64 * GIB })
const data = [0, 1, 2, 1000, 5_000_000, 16_777_215]
const holes = [3, 999, 1001, 262_144, 4_999_999, 5_000_001, 10_000_000, 16_777_214]
new Worker(new URL('./page-reader.mjs', import.meta.url), {
  workerData: { address, pageSize, data, holes },
}).on('message', (wrong) => {
  process.stdout.write(`${wrong} wrong of ${data.length + holes.length} pages\n`)
  process.exit(wrong === 0 ? 0 : 3)
})
