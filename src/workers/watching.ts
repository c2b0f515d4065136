/**
 * Notices when the machine stands still. A thread that goes before all ordinary ones sleeps for a moment, again and again, and what it oversleeps
 * nobody could use: the host of a virtual machine, whose quota is spent, stops its processors for up to 40 ms at a time,
 * and the kernel's count of stolen time may say nothing of it.
 */
import type { Clock } from '../clock.ts'

/** Words: raised to end it; microseconds stood still so far. */
const STOP = 0
const STILL_US = 1
export const WATCHING_WORDS = 2

/** Each time takes the processor some 10 µs. */
const PERIOD_MS = 2
/** Overslept by less is the timer, or a long interrupt. */
const STILL_NS_MIN = 1e6

/** Returns when it is told to end. */
export function watch(words: Int32Array, clock: Clock): void {
  let sinceNs = clock.nowNs()
  while (Atomics.wait(words, STOP, 0, PERIOD_MS) === 'timed-out') {
    const nowNs = clock.nowNs()
    const stillNs = nowNs - sinceNs - PERIOD_MS * 1e6
    if (stillNs >= STILL_NS_MIN) Atomics.add(words, STILL_US, Math.round(stillNs / 1000))
    sinceNs = nowNs
  }
}

export function endWatching(words: Int32Array): void {
  Atomics.store(words, STOP, 1)
  Atomics.notify(words, STOP)
}

export function stillUs(words: Int32Array): number {
  return Atomics.load(words, STILL_US)
}
