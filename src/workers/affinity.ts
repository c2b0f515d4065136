/**
 * Which processor a thread of the demand road keeps to. With two processors the toucher needs one and the road the
 * other: left to itself the kernel puts each thread it wakes on the processor that has just gone idle, which is the
 * toucher's, and every hop of a fault then pays for waking a processor from its sleep. Source and demand agent on
 * one processor took a stall's median from 97 to 71 µs asleep and from 119 to 62 µs adaptive (2 × AMD EPYC, loopback).
 * Prefault is left to the kernel: kept to the toucher's processor it starved beside two busy vCPUs.
 * With more processors there is an idle one for everybody, and the kernel chooses better than we could.
 */
import { FaultlaneError } from '../errors.ts'
import { allowedProcessors, pinThread } from '../native/sched.ts'

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
