/** The host's monotonic clock with one zero for all threads and processes, which `performance.now()` has not. */
import { performance } from 'node:perf_hooks'
import type { Clock } from '../clock.ts'
import { NativeBuffer } from './buffer.ts'
import { check, libc } from './libc.ts'

const CLOCK_MONOTONIC = 1
/** Both clocks are read one after the other; of so many tries the quickest tells their distance best. */
const TRIES = 32

/** Both run on CLOCK_MONOTONIC, so that their distance stays. */
export function hostClock(): Clock {
  const time = new NativeBuffer(16)
  let quickestNs = Infinity
  let distanceNs = 0
  for (let i = 0; i < TRIES; i++) {
    const beforeNs = performance.now() * 1e6
    check(libc().clock_gettime(CLOCK_MONOTONIC, time.address), 'clock_gettime', 'CLOCK_MONOTONIC')
    const afterNs = performance.now() * 1e6
    if (afterNs - beforeNs >= quickestNs) continue
    quickestNs = afterNs - beforeNs
    distanceNs = time.getU64(0) * 1e9 + time.getU64(8) - (beforeNs + afterNs) / 2
  }
  return { nowNs: () => performance.now() * 1e6 + distanceNs }
}
