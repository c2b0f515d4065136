/**
 * The demand agent of a LazyMemory: one thread that answers the faults of readers in this process, until the memory
 * is closed. Owns the demand lane and its channel. While the source is away, faults stay in their ring and readers
 * wait, each as long as it has said.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import type { LazyFaults } from '../fault/lazy-faults.ts'
import { POLL } from '../native/abi.ts'
import type { EventFd } from '../native/event-fd.ts'
import { PollSet } from '../native/poll-set.ts'
import type { Channel } from '../transport/transport.ts'
import type { AgentEvent } from './agent-event.ts'
import type { DemandLane } from './demand-lane.ts'
import { LastingChannel } from './lasting-channel.ts'

const SLOT_BELL = 0
const SLOT_CHANNEL = 1

export interface LazyAgentParts {
  /** Begun with the faults below. */
  readonly lane: DemandLane
  readonly faults: LazyFaults
  readonly channel: Channel
  /** Opens the demand channel anew; throws while the source is away. */
  readonly reopen: () => Channel
  readonly bell: EventFd
  readonly clock: Clock
  readonly notify: (event: AgentEvent) => void
}

export class LazyAgent {
  readonly role = 'demand'
  readonly #parts: LazyAgentParts
  readonly #poll = new PollSet(2)
  readonly #channel: LastingChannel

  constructor(parts: LazyAgentParts) {
    this.#parts = parts
    this.#channel = new LastingChannel({ ...parts, sharedPrefault: undefined, listener: undefined })
    this.#poll.set(SLOT_BELL, parts.bell.fd, POLL.IN)
  }

  /** The memory has been closed. */
  get isFinished(): boolean {
    return this.#parts.lane.isClientGone
  }

  doWork(): number {
    const channel = this.#channel
    if (channel.isBroken) return channel.isDialDue && channel.tryReopen() ? 1 : 0
    try {
      return this.#parts.lane.doWork(true, true)
    } catch (error) {
      this.#lose(error)
      return 1
    }
  }

  hasNews(): boolean {
    const { faults, lane } = this.#parts
    return !this.#channel.isBroken && (faults.hasNews || lane.hasPromotedNews())
  }

  /** Sleeps until a reader, the prefault agent or the channel has something. */
  park(timeoutMs: number): void {
    const { lane, bell } = this.#parts
    const { current, isBroken } = this.#channel
    let ms = timeoutMs
    if (isBroken) {
      this.#poll.set(SLOT_CHANNEL, -1, 0)
    } else {
      this.#poll.set(SLOT_CHANNEL, current.pollFd, current.pollEvents)
      if (lane.hasOwnWork) ms = Math.min(ms, 1)
      if (current.armForPark()) ms = 0
    }
    this.#poll.wait(ms)
    if (this.#poll.revents(SLOT_BELL) !== 0) bell.drain()
    // Readable with nothing asked for: the source has closed it.
    if (this.#poll.revents(SLOT_CHANNEL) !== 0 && lane.readsInFlight === 0) this.#lookAtIdleChannel()
  }

  close(): void {
    this.#parts.lane.end()
    this.#channel.close()
  }

  #lookAtIdleChannel(): void {
    try {
      this.#channel.current.poll(this.#parts.lane, 1)
    } catch (error) {
      this.#lose(error)
    }
  }

  #lose(error: unknown): void {
    if (!(error instanceof FaultlaneError)) throw error
    this.#channel.lose(error.message)
  }
}
