/** Scheduling of the calling thread. What the kernel refuses is left as it is. */
import { libc } from './libc.ts'

const PRIO_PROCESS = 0

/** Raises the niceness of this thread, not of its process: it runs in what others leave. */
export function lowerThreadPriority(nice: number): void {
  const c = libc()
  c.setpriority(PRIO_PROCESS, c.gettid(), nice)
}
