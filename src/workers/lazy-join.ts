/** How a thread of this process gets its own end of an open LazyMemory. */
import { LazyMemory } from '../fault/lazy-memory.ts'
import { Board } from '../lane/board.ts'
import { EventFd } from '../native/event-fd.ts'
import type { LazyPlan } from './plans.ts'

/** Plain data for another thread (workerData). */
export type LazyShare = Pick<LazyPlan, 'lazy' | 'board' | 'demandBellFd'> & {
  readonly timeoutMs: number | undefined
}

/** A reading end for the calling thread. Good until the memory is closed. */
export function joinLazyMemory(share: LazyShare): LazyMemory {
  const event = new EventFd(share.demandBellFd)
  const agent = new Board(share.board).demandBell({ signal: () => event.signal(), sleep: () => {} })
  const { timeoutMs } = share
  return new LazyMemory(share.lazy, timeoutMs === undefined ? { agent } : { agent, timeoutMs })
}
