// A thread that really faults: reads whole pages here and there and counts those that are not what they should be.
import { parentPort, workerData } from 'node:worker_threads'
import { fillSyntheticPage } from '../../dist/memory/synthetic.js'
import { viewOf } from '../../dist/native/libc.js'

const { address, pageSize, data, holes } = workerData
const want = new Uint32Array(pageSize / 4)
let wrong = 0
for (const page of [...holes, ...data, ...holes]) {
  want.fill(0)
  if (data.includes(page)) fillSyntheticPage(want, 0, page)
  const have = new Uint32Array(viewOf(address + page * pageSize, pageSize))
  if (have.some((word, i) => word !== want[i])) wrong++
}
parentPort.postMessage(wrong)
