/** Scheduling of threads, mostly the calling one. What the kernel refuses is left as it is. */
import { closeSync, openSync, readSync } from 'node:fs'
import { getPriority } from 'node:os'
import { PR_SET_NAME, PR_SET_TIMERSLACK, SCHED, SCHED_ATTR_BYTES, SCHED_FLAG, SYS } from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { libc } from './libc.ts'

/** sizeof(cpu_set_t): 1024 processors. */
const CPU_SET_BYTES = 128
const NICE_MAX = 19
/** The least there is, and before everybody that has none. */
const REALTIME_PRIORITY = 1

interface Attributes {
  readonly policy: number
  readonly flags?: number
  readonly nice?: number
  readonly priority?: number
  readonly sliceNs?: number
}

/** sched_setattr(2) of one thread, 0 the calling one; whether the kernel took it. */
function setAttributes(thread: number, wanted: Attributes): boolean {
  const c = libc()
  const attr = new NativeBuffer(SCHED_ATTR_BYTES)
  attr.u32[0] = SCHED_ATTR_BYTES
  attr.u32[1] = wanted.policy
  attr.setU64(8, wanted.flags ?? 0)
  attr.i32[4] = wanted.nice ?? 0
  attr.u32[5] = wanted.priority ?? 0
  attr.setU64(24, wanted.sliceNs ?? 0)
  return c.syscall3(SYS[c.arch].sched_setattr, thread, attr.address, 0) === 0
}

/**
 * How this thread, and no other of its process, is served on a busy processor: how much nicer than it was started,
 * and the length of its turns in nanoseconds, 0.1 to 100 ms. Who asks for short turns is served soon, who asks for long ones gives way to
 * whoever wakes (EEVDF, Linux 6.12 and later; older kernels take the niceness alone).
 */
export function scheduleThread(nicer: number, sliceNs: number): void {
  const nice = Math.min(NICE_MAX, getPriority(libc().gettid()) + nicer)
  setAttributes(0, { policy: SCHED.OTHER, nice, sliceNs })
}

/**
 * Has a thread of this process, 0 the calling one, take turns of that length, so that it gives way to whoever wakes and asks for shorter
 * ones, its niceness as it is. What it starts later has usual turns, and no negative niceness of its. Throws where there is no such thread.
 */
export function lengthenTurns(thread: number, sliceNs: number): void {
  const nice = getPriority(thread === 0 ? libc().gettid() : thread)
  setAttributes(thread, { policy: SCHED.OTHER, flags: SCHED_FLAG.RESET_ON_FORK, nice, sliceNs })
}

/** Has this thread go before all ordinary ones of the machine (SCHED_FIFO); whether the kernel allows it. */
export function runBeforeAll(): boolean {
  return setAttributes(0, { policy: SCHED.FIFO, priority: REALTIME_PRIORITY })
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

/** Keeps one thread, this one by default, on these processors; whether the kernel took it. */
export function keepThread(processors: readonly number[], thread = 0): boolean {
  const set = new NativeBuffer(CPU_SET_BYTES)
  for (const cpu of processors) {
    if (cpu < 0 || cpu >= CPU_SET_BYTES * 8) return false
    set.u8[cpu >> 3] = (set.u8[cpu >> 3] as number) | (1 << (cpu & 7))
  }
  return libc().sched_setaffinity(thread, CPU_SET_BYTES, set.address) === 0
}

/** What `top -H`, `perf` and a debugger call this thread: 15 bytes, the rest is cut off. */
export function nameThread(name: string): void {
  const text = new NativeBuffer(16)
  text.u8.set(Buffer.from(name.slice(0, 15), 'latin1'))
  libc().prctl(PR_SET_NAME, text.address)
}

/** This thread's sleeps end when their time is over, and not up to 50 µs later to be ended together with others. */
export function sleepExactly(): void {
  libc().prctl(PR_SET_TIMERSLACK, 1)
}

/**
 * How long the calling thread has run, and how long it could have, nanoseconds; undefined where the kernel does not say
 * (CONFIG_SCHED_INFO). A look takes some microseconds; only this thread may look.
 */
export function openThreadTimes():
  | { read(): { ranNs: number; waitedNs: number }; close(): void }
  | undefined {
  let fd: number
  try {
    fd = openSync('/proc/thread-self/schedstat', 'r')
  } catch {
    return undefined
  }
  const text = Buffer.alloc(64)
  const read = () => {
    const length = readSync(fd, text, 0, text.length, 0)
    const [ranNs = 0, waitedNs = 0] = text.toString('latin1', 0, length).split(' ').map(Number)
    return { ranNs, waitedNs }
  }
  if (read().ranNs > 0) return { read, close: () => closeSync(fd) }
  closeSync(fd)
  return undefined
}
