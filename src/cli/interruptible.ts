/** Runs a measurement so that a signal ends it in order: threads freed, processes stopped, folders removed. */
import { stopAll } from '../measure/child.ts'
import { freeAllClients } from '../measure/measured-client.ts'
import { onceStopped } from './signals.ts'

const EXIT_INTERRUPTED = 130
/** A measurement waits for its processes, each of which has a second of its own. */
const STOP_MS_MAX = 10_000

export async function interruptible(work: () => Promise<void>): Promise<void> {
  let isStopped = false
  onceStopped(async () => {
    isStopped = true
    freeAllClients()
    await stopAll() // The work finds its processes gone, and unwinds.
  }, STOP_MS_MAX)
  try {
    await work()
  } catch (error) {
    if (!isStopped) throw error
  } finally {
    await stopAll()
  }
  if (isStopped) process.exitCode = EXIT_INTERRUPTED
}
