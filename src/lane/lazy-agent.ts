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

const SLOT_BELL = 0
const SLOT_CHANNEL = 1
/** Between two tries to reach a source that is away. */
const RECONNECT_MS = 100

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
  #channel: Channel
  #isChannelBroken = false
  #reconnectAtNs = 0

  constructor(parts: LazyAgentParts) {
    this.#parts = parts
    this.#channel = parts.channel
    this.#poll.set(SLOT_BELL, parts.bell.fd, POLL.IN)
  }

  /** The memory has been closed. */
  get isFinished(): boolean {
    return this.#parts.lane.isClientGone
  }

  doWork(): number {
    if (this.#isChannelBroken) return this.#reconnect()
    try {
      return this.#parts.lane.doWork(true, true)
    } catch (error) {
      this.#lose(error)
      return 1
    }
  }

  hasNews(): boolean {
    const { faults, lane } = this.#parts
    return !this.#isChannelBroken && (faults.hasNews || lane.hasPromotedNews())
  }

  /** Sleeps until a reader, the prefault agent or the channel has something. */
  park(timeoutMs: number): void {
    const { lane, bell } = this.#parts
    let ms = timeoutMs
    if (this.#isChannelBroken) {
      this.#poll.set(SLOT_CHANNEL, -1, 0)
    } else {
      this.#poll.set(SLOT_CHANNEL, this.#channel.pollFd, this.#channel.pollEvents)
      if (lane.hasOwnWork) ms = Math.min(ms, 1)
      if (this.#channel.armForPark()) ms = 0
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
      this.#channel.poll(this.#parts.lane, 1)
    } catch (error) {
      this.#lose(error)
    }
  }

  #lose(error: unknown): void {
    if (!(error instanceof FaultlaneError)) throw error
    const { lane, clock, notify } = this.#parts
    this.#isChannelBroken = true
    this.#channel.close()
    lane.reclaimReads()
    this.#reconnectAtNs = clock.nowNs()
    notify({ kind: 'source-lost', reason: error.message })
  }

  #reconnect(): number {
    const { lane, clock, reopen, notify } = this.#parts
    if (clock.nowNs() < this.#reconnectAtNs) return 0
    try {
      const channel = reopen()
      if (channel.info.imageId !== this.#channel.info.imageId) {
        channel.close() // Another image: nothing of it may be placed.
        throw new FaultlaneError({
          code: 'GEOMETRY_MISMATCH',
          what: 'image of the source that came back',
          got: channel.info.imageId,
          expected: this.#channel.info.imageId,
        })
      }
      this.#channel = channel
      this.#isChannelBroken = false
      lane.replaceChannel(channel)
      notify({ kind: 'source-back' })
      return 1
    } catch (error) {
      if (!(error instanceof FaultlaneError)) throw error
      this.#reconnectAtNs = clock.nowNs() + RECONNECT_MS * 1e6
      return 0
    }
  }
}
