/** A source agent in the loop of its thread. */
import { monotonicClock } from '../clock.ts'
import type { EventFd } from '../native/event-fd.ts'
import { Doorbell } from '../ring/doorbell.ts'
import type { SourceAgent } from '../transport/source.ts'
import { runAgent } from './run-agent.ts'
import { makeWait, type WaitMode } from './wait.ts'

/**
 * @param bell the doorbell's word; `event` is its signal
 * @param spinNs how long adaptive spins
 */
export function runSource(
  source: SourceAgent,
  bell: Int32Array,
  event: EventFd,
  wait: WaitMode,
  isFinished: () => boolean,
  isYielding = true,
  spinNs?: number,
): void {
  const agent = {
    role: 'source',
    doWork: () => source.doWork(),
    hasNews: () => false,
    park: (ms: number) => source.park(ms),
  }
  const doorbell = new Doorbell(bell, 0, { signal: () => event.signal(), sleep: agent.park })
  runAgent(agent, doorbell, makeWait(wait, monotonicClock, isYielding, spinNs), isFinished)
}
