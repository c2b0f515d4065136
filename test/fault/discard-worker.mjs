// A thread that gives memory back, as a balloon does: it stands still until the handler has read the event.
import { parentPort, workerData } from 'node:worker_threads'
import { MADV } from '../../dist/native/abi.js'
import { libc } from '../../dist/native/libc.js'

const { address, bytes } = workerData
parentPort.postMessage(libc().madvise(address, bytes, MADV.DONTNEED))
