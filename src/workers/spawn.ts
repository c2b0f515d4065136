/** Starts a worker by its role and watches over it. The only way the rest of the program meets a thread. */
import { FaultlaneError } from '../errors.ts'
import type { WorkerMessage } from './plans.ts'
import { type Role, startThread, type Thread } from './thread.ts'

export interface RunningWorker {
  readonly role: Role
  /** Resolves with what the worker says when it is ready; rejects when it fails before. */
  readonly ready: Promise<{ url?: string }>
  /** Sends it plain data; for a worker that waits for it. */
  post(message: unknown): void
  /** Resolves when its thread has ended. */
  readonly ended: Promise<void>
}

export function spawnWorker(
  role: Role,
  plan: unknown,
  onMessage: (message: WorkerMessage) => void,
): RunningWorker {
  return watchOver(role, startThread(role, plan), onMessage)
}

/** @param worker a thread of that role, which may have been running for a while */
export function watchOver(
  role: Role,
  worker: Thread,
  onMessage: (message: WorkerMessage) => void,
): RunningWorker {
  let isReady = false
  const ready = new Promise<{ url?: string }>((resolve, reject) => {
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'ready') {
        isReady = true
        resolve(message.url === undefined ? {} : { url: message.url })
      } else if (message.kind === 'failed' && !isReady) reject(new FaultlaneError(message.failure))
      else onMessage(message)
    })
    const died = (reason: string) => {
      const failure = { code: 'WORKER_DIED', role, reason } as const
      if (isReady) onMessage({ kind: 'failed', failure })
      else reject(new FaultlaneError(failure))
    }
    worker.on('error', (error) => died(error.stack ?? String(error)))
    worker.on('exit', (code) => {
      if (!isReady) died(`it ended with code ${code} before it was ready`)
    })
  })
  ready.catch(() => {}) // Whoever waits sees it; a second listener is not needed.
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  return { role, ready, ended, post: (message) => worker.postMessage(message) }
}
