/**
 * Which processor a thread of the demand road keeps to. With two processors the toucher needs one and the road the
 * other: left to itself the kernel puts each thread it wakes on the processor that has just gone idle, which is the
 * toucher's, and every hop of a fault then pays for waking a processor from its sleep. Source and demand agent on
 * one processor took a stall's median from 97 to 71 µs asleep and from 119 to 62 µs adaptive (2 × AMD EPYC, loopback).
 * Prefault over tcp keeps to the other while it does not starve there (standing-aside.ts).
 * With more processors there is an idle one for everybody, and the kernel chooses better than we could.
 */
import { HELPER_SLICE_NS } from '../config.ts'
import { FaultlaneError } from '../errors.ts'
import { allowedProcessors, keepThread, lengthenTurns } from '../native/sched.ts'

/** auto: the first of two processors, anywhere with any other number of them; or a processor's number. */
export type Affinity = 'auto' | 'off' | number

/**
 * Keeps the calling thread where it belongs. Throws BAD_ARGUMENT for a processor that it may not run on.
 * @returns keeps it to the second of two processors, or to the first again; undefined where there is nothing to choose
 */
export function settleThread(affinity: Affinity): ((isApart: boolean) => void) | undefined {
  if (affinity === 'off') return undefined
  const allowed = allowedProcessors()
  if (affinity === 'auto') {
    if (allowed.length !== 2 || !keepThread(allowed.slice(0, 1))) return undefined
    return (isApart) => keepThread(isApart ? allowed.slice(1) : allowed.slice(0, 1))
  }
  if (allowed.includes(affinity) && keepThread([affinity])) return undefined
  throw new FaultlaneError({
    code: 'BAD_ARGUMENT',
    what: 'processor of --affinity',
    got: String(affinity),
    expected: `one of ${allowed.join(', ')}, auto or off`,
  })
}

/**
 * For a thread that is not of the demand road: lets it run on both of two processors, or keeps it to the one that the road
 * does not keep to; undefined where it is not for us to choose.
 */
export function keepAside(affinity: Affinity): ((isFree: boolean) => void) | undefined {
  const allowed = allowedProcessors()
  if (affinity !== 'auto' || allowed.length !== 2) return undefined
  return (isFree) => keepThread(isFree ? allowed : allowed.slice(1))
}

/**
 * For the main thread of a program of ours. Its own turns and those of the engine's helpers are long from now on: they give way to whoever wakes. With
 * turns as everybody's they held a toucher or the demand road up for 1 to 5 ms at a time, some ten times a second.
 *
 * @param helpers the program's threads at its start, when all others are the engine's
 */
export function giveWayToAll(helpers: readonly number[]): void {
  for (const thread of [0, ...helpers]) {
    try {
      lengthenTurns(thread, HELPER_SLICE_NS)
    } catch {
      // It has ended, or there are no such turns here.
    }
  }
}

/**
 * For a program of ours: what to call when it is ready. From then on,
 * where settleThread() keeps the demand road to the first of two processors, they keep to the second. Compiling what the first faults
 * run, they held the road up for a scheduler's tick now and then: p99.9 of 5000 touches 3.7 ms, and 2.2 without (medians of 2 pairs).
 * Before, while those of the demand road rehearse, they have both.
 *
 * @param helpers the program's threads at its start, when all others are the engine's
 */
export function noteHelpers(affinity: Affinity, helpers: readonly number[]): () => void {
  if (affinity !== 'auto') return () => {}
  return () => {
    const allowed = allowedProcessors()
    if (allowed.length !== 2) return
    for (const thread of helpers) keepThread(allowed.slice(1), thread)
  }
}
