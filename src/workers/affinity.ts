/**
 * Which processor a thread of the demand road keeps to. With two processors the toucher needs one and the road the
 * other: left to itself the kernel puts each thread it wakes on the processor that has just gone idle, which is the
 * toucher's, and every hop of a fault then pays for waking a processor from its sleep. Source and demand agent on
 * one processor took a stall's median from 97 to 71 µs asleep and from 119 to 62 µs adaptive (2 × AMD EPYC, loopback).
 * Prefault is left to the kernel: kept to the toucher's processor it starved beside two busy vCPUs.
 * With more processors there is an idle one for everybody, and the kernel chooses better than we could.
 */
import { FaultlaneError } from '../errors.ts'
import { allowedProcessors, otherThreads, pinThread } from '../native/sched.ts'

/** auto: the first of two processors, anywhere with any other number of them; or a processor's number. */
export type Affinity = 'auto' | 'off' | number

/** Pins the calling thread. Throws BAD_ARGUMENT for a processor that it may not run on. */
export function settleThread(affinity: Affinity): void {
  if (affinity === 'off') return
  const allowed = allowedProcessors()
  if (affinity === 'auto') {
    if (allowed.length === 2) pinThread(allowed[0] as number)
    return
  }
  if (allowed.includes(affinity) && pinThread(affinity)) return
  throw new FaultlaneError({
    code: 'BAD_ARGUMENT',
    what: 'processor of --affinity',
    got: String(affinity),
    expected: `one of ${allowed.join(', ')}, auto or off`,
  })
}

/**
 * For a program of ours, at its start, while all other threads are the engine's helpers: where settleThread() will keep the demand
 * road to the first of two processors, they keep to the second. Compiling what the first faults run, they held the road up
 * for a scheduler's tick now and then: p99.9 of 5000 touches 3.7 ms, and 2.2 without (medians of 2 pairs). Threads
 * started later are not touched.
 */
export function keepHelpersOff(affinity: Affinity): void {
  const allowed = allowedProcessors()
  if (affinity !== 'auto' || allowed.length !== 2) return
  for (const thread of otherThreads()) pinThread(allowed[1] as number, thread)
}
