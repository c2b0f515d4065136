/**
 * Opens a lost channel again, from a turn of an agent that stands still meanwhile. So a dial is given little time, and the next one
 * more where that was not enough: three round trips to a source on another continent are not made in RECONNECT_MS_MIN.
 */
import type { Clock } from '../clock.ts'
import type { Channel } from '../transport/transport.ts'

const RECONNECT_MS_MIN = 50
/** Of one dial: meanwhile neither a client nor a program that is told to stop is heard, and that one has 900 ms. */
export const DIAL_MS_MAX = 300

/** @param open throws while the source is away */
export function redialling(open: (timeoutMs: number) => Channel, clock: Clock): () => Channel {
  let timeoutMs = RECONNECT_MS_MIN
  return () => {
    const startNs = clock.nowNs()
    try {
      const channel = open(timeoutMs)
      timeoutMs = RECONNECT_MS_MIN
      return channel
    } catch (error) {
      const tookMs = (clock.nowNs() - startNs) / 1e6
      // Who was refused at once gains nothing by waiting longer.
      timeoutMs = tookMs < timeoutMs ? RECONNECT_MS_MIN : Math.min(DIAL_MS_MAX, 2 * timeoutMs)
      throw error
    }
  }
}
