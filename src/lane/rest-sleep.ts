/**
 * How prefault sleeps in a rest: in one piece, until whoever waits for what it has in flight rings. Looking for that every 60 µs instead
 * cost two threads that fault 35 µs each time, by the timers and the turns of who looks (2 × AMD EPYC, a page 10 µs).
 */
import { POLL } from '../native/abi.ts'
import type { EventFd } from '../native/event-fd.ts'
import { PollSet } from '../native/poll-set.ts'
import type { Board } from './board.ts'
import type { Resting } from './rests.ts'

/**
 * Owned by the prefault thread; one per thread.
 *
 * @param bell the prefault agent's; what else it is rung for ends the sleep early, and is looked at after the rest
 */
export function restSleep(board: Board, bell: EventFd): (ns: number, lane: Resting) => void {
  const poll = new PollSet(1)
  poll.set(0, bell.fd, POLL.IN)
  const restBell = board.restBell({
    signal: () => bell.signal(),
    sleep: (ms) => {
      if (poll.wait(ms) > 0) bell.drain()
    },
  })
  return (ns, lane) => {
    restBell.announce()
    restBell.park(lane.isAwaited ? 0 : ns / 1e6)
  }
}
