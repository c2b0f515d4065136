// A client process to be killed: hands its memory over, says so, and lets a second thread fault.
import { Worker } from 'node:worker_threads'
import { FaultClient } from '../../dist/fault/client.js'

const { address, bytes, pageSize } = new FaultClient({ socketPath: process.argv[2], bytes: 16 * 4096 })
process.stdout.write('up\n')
new Worker(new URL('./touch-worker.mjs', import.meta.url), {
  workerData: { address, bytes, pageSize, pages: [0, 1, 2] },
}).on('message', (message) => process.stdout.write(`${JSON.stringify(message)}\n`))
setInterval(() => {}, 1000) // It does not end with its thread.
