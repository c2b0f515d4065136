/** Repeats one agent in its thread until told to stop. How it waits is a strategy handed in, never an `if` in the agent. */
import { PARK_MS_MAX } from '../config.ts'
import type { Doorbell } from '../ring/doorbell.ts'
import type { WaitStrategy } from './wait.ts'

export interface Agent {
  readonly role: string
  /** One bounded turn; how much was done, 0 when idle. */
  doWork(): number
  /** True when another thread has published something in memory that a turn would find. Descriptors need no look: poll(2) has one. */
  hasNews(): boolean
  /** Sleeps until there may be work, at most `timeoutMs`; ends early when the thread's doorbell signals. */
  park(timeoutMs: number): void
}

/** @param doorbell its sleep is agent.park */
export function runAgent(
  agent: Agent,
  doorbell: Doorbell,
  wait: WaitStrategy,
  isFinished: () => boolean,
): void {
  while (!doorbell.isStopped() && !isFinished()) {
    if (!wait.shouldPark(agent.doWork())) continue
    // Announce, look once more, then sleep: what is published before that look is found by it; what is
    // published after it sees the announcement and signals.
    doorbell.announce()
    doorbell.park(agent.hasNews() ? 0 : PARK_MS_MAX)
    wait.onAwake()
  }
}
