// A thread that joins a LazyMemory and reads it standing still; posts a checksum of what it read.
import { createHash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { joinLazyMemory } from '../../dist/daemon/lazy.js'

const memory = joinLazyMemory(workerData.share)
const hash = createHash('sha256')
for (const [offset, length] of workerData.reads) hash.update(memory.readSync(offset, length))
parentPort.postMessage(hash.digest('hex'))
