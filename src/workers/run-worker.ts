/** The frame of every worker: says what went wrong as plain data, and when it has ended. */
import type { MessagePort } from 'node:worker_threads'
import { FaultlaneError } from '../errors.ts'
import type { WorkerMessage } from './plans.ts'

export async function runWorker(
  body: (tell: (message: WorkerMessage) => void) => Promise<void>,
  port: MessagePort | null,
): Promise<void> {
  const tell = (message: WorkerMessage) => port?.postMessage(message)
  try {
    await body(tell)
    tell({ kind: 'stopped' })
  } catch (error) {
    if (!(error instanceof FaultlaneError)) throw error // Our own bug: the worker dies loudly.
    tell({ kind: 'failed', failure: error.failure })
  }
}
