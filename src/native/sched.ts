/** Scheduling of the calling thread. What the kernel refuses is left as it is. */
import { NativeBuffer } from './buffer.ts'
import { libc } from './libc.ts'

const PRIO_PROCESS = 0
/** sizeof(cpu_set_t): 1024 processors. */
const CPU_SET_BYTES = 128

/** Raises the niceness of this thread, not of its process: it runs in what others leave. */
export function lowerThreadPriority(nice: number): void {
  const c = libc()
  c.setpriority(PRIO_PROCESS, c.gettid(), nice)
}

/** The processors this thread may run on, in rising order; none where the kernel does not say. */
export function allowedProcessors(): number[] {
  const set = new NativeBuffer(CPU_SET_BYTES)
  if (libc().sched_getaffinity(0, CPU_SET_BYTES, set.address) < 0) return []
  const processors: number[] = []
  for (let cpu = 0; cpu < CPU_SET_BYTES * 8; cpu++) {
    if (((set.u8[cpu >> 3] as number) >> (cpu & 7)) & 1) processors.push(cpu)
  }
  return processors
}

/** Keeps this thread, and no other of its process, on one processor; whether the kernel took it. */
export function pinThread(cpu: number): boolean {
  if (cpu < 0 || cpu >= CPU_SET_BYTES * 8) return false
  const set = new NativeBuffer(CPU_SET_BYTES)
  set.u8[cpu >> 3] = 1 << (cpu & 7)
  return libc().sched_setaffinity(0, CPU_SET_BYTES, set.address) === 0
}
