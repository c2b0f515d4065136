// A thread that reads a LazyMemory standing still, and tells how it ended.
import { parentPort, workerData } from 'node:worker_threads'
import { LazyMemory } from '../../dist/fault/lazy-memory.js'
import { Doorbell } from '../../dist/ring/doorbell.js'

const { description, bell, reads } = workerData
const memory = new LazyMemory(description, { agent: new Doorbell(bell, 0) })
try {
  for (const [offset, length] of reads)
    parentPort.postMessage({ offset, bytes: memory.readSync(offset, length) })
} catch (error) {
  parentPort.postMessage({ failure: error.failure })
}
