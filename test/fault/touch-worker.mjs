// A thread that really faults: reads one word of each page it is told, and posts what it found.
import { parentPort, workerData } from 'node:worker_threads'
import { viewOf } from '../../dist/native/libc.js'

const { address, bytes, pageSize, pages } = workerData
const words = new Uint32Array(viewOf(address, bytes))
for (const page of pages) {
  const last = ((page + 1) * pageSize) / 4 - 1
  parentPort.postMessage([page, words[(page * pageSize) / 4], words[last]])
}
