/** The frame of every worker: says what went wrong as plain data, and when it has ended. */
import { once } from 'node:events'
import type { MessagePort } from 'node:worker_threads'
import { FaultlaneError } from '../errors.ts'
import { nameThread } from '../native/sched.ts'
import { ifAllowed } from './if-allowed.ts'
import type { WorkerMessage } from './plans.ts'
import type { Role } from './thread.ts'

export async function runWorker(
  role: Role,
  port: MessagePort | null,
  body: (tell: (message: WorkerMessage) => void) => Promise<void>,
): Promise<void> {
  const tell = (message: WorkerMessage) => port?.postMessage(message)
  try {
    ifAllowed(() => nameThread(`fl-${role}`))
    await body(tell)
    tell({ kind: 'stopped' })
  } catch (error) {
    if (!(error instanceof FaultlaneError)) throw error // Our own bug: the worker dies loudly.
    tell({ kind: 'failed', failure: error.failure })
  }
}

/** What this worker is posted after its start; null when it is not needed after all. */
export async function nextMessage<T>(port: MessagePort | null): Promise<T | null> {
  const [message] = port ? await once(port, 'message') : [null]
  return message as T | null
}
