/**
 * The prefault agent: runs the prefault lane for whatever client the demand agent has taken in, in a thread of
 * its own. Never touches a client outside begin and release.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import type { Placer } from '../fault/fault-source.ts'
import { POLL } from '../native/abi.ts'
import type { EventFd } from '../native/event-fd.ts'
import { PollSet } from '../native/poll-set.ts'
import type { Doorbell } from '../ring/doorbell.ts'
import type { Channel } from '../transport/transport.ts'
import { type Board, PHASE } from './board.ts'
import type { PrefaultLane } from './prefault-lane.ts'
import type { Rests } from './rests.ts'

const SLOT_BELL = 0
const SLOT_CHANNEL = 1
const RECONNECT_MS = 200

export interface PrefaultAgentParts {
  readonly board: Board
  readonly lane: PrefaultLane
  readonly channel: Channel
  readonly reopen: () => Channel
  /** For the client that the demand agent has just taken in. */
  readonly makePlacer: () => Placer
  readonly bell: EventFd
  readonly demandBell: Doorbell
  readonly clock: Clock
  /** Undefined: none, a processor is free for everybody, or level `rests` is off. */
  readonly rests?: Rests | undefined
}

export class PrefaultAgent {
  readonly role = 'prefault'
  readonly #parts: PrefaultAgentParts
  readonly #poll = new PollSet(2)
  #channel: Channel
  #epoch = 0
  #isRunning = false
  #isChannelBroken = false
  #reconnectAtNs = 0
  /** There is no client, and the channel has something left to prepare. */
  #isPreparing = false

  constructor(parts: PrefaultAgentParts) {
    this.#parts = parts
    this.#channel = parts.channel
    this.#poll.set(SLOT_BELL, parts.bell.fd, POLL.IN)
  }

  doWork(): number {
    const { board, lane, demandBell } = this.#parts
    const phase = board.phase()
    if (phase !== PHASE.RUNNING) {
      if (phase === PHASE.STOPPING && !board.isReleased()) {
        lane.end()
        this.#isRunning = false
        board.release(board.epoch())
        demandBell.wake()
        return 1
      }
      // Reads of the last client still come in; their credits are wanted back.
      if (lane.readsInFlight > 0) return this.#laneTurn()
      this.#isPreparing = !this.#isChannelBroken && this.#channel.prepare?.() === true
      return this.#isPreparing ? 1 : 0
    }
    if (!this.#isRunning || this.#epoch !== board.epoch()) {
      this.#epoch = board.epoch()
      this.#isRunning = true
      this.#isPreparing = false
      lane.begin(this.#parts.makePlacer())
    }
    const work = this.#laneTurn()
    if (work === 0) return 0
    if (lane.isClientGone || board.remaining() === 0) demandBell.wake()
    else this.#parts.rests?.afterTurn(lane)
    return work
  }

  #laneTurn(): number {
    try {
      if (this.#isChannelBroken) this.#reconnect()
      return this.#isChannelBroken ? 0 : this.#parts.lane.doWork()
    } catch (error) {
      if (!(error instanceof FaultlaneError)) throw error
      this.#isChannelBroken = true
      this.#channel.close()
      this.#parts.lane.reclaimReads()
      this.#reconnectAtNs = this.#parts.clock.nowNs() + RECONNECT_MS * 1e6
      return 1
    }
  }

  #reconnect(): void {
    if (this.#parts.clock.nowNs() < this.#reconnectAtNs) return
    try {
      const channel = this.#parts.reopen()
      if (channel.info.imageId !== this.#channel.info.imageId) {
        channel.close()
        return // Another image: the demand agent says so; nothing of it is placed.
      }
      this.#channel = channel
      this.#parts.lane.replaceChannel(channel)
      this.#isChannelBroken = false
    } catch (error) {
      if (!(error instanceof FaultlaneError)) throw error
    } finally {
      // From now on: a dial takes longer than that where nobody answers, and between two of them others are heard.
      this.#reconnectAtNs = this.#parts.clock.nowNs() + RECONNECT_MS * 1e6
    }
  }

  hasNews(): boolean {
    const { board } = this.#parts
    const phase = board.phase()
    if (phase === PHASE.STOPPING) return !board.isReleased()
    return phase === PHASE.RUNNING && (!this.#isRunning || this.#epoch !== board.epoch())
  }

  /** The lane's own reason to come back earlier than anything announces. */
  park(timeoutMs: number): void {
    const { lane, rests } = this.#parts
    let ms = this.#isPreparing ? 0 : timeoutMs
    const hasMore = !lane.isDrained && !lane.isClientGone
    if (this.#isRunning && (lane.hasOwnWork || this.#isChannelBroken || hasMore)) ms = Math.min(ms, 1)
    const channelFd = this.#isChannelBroken ? -1 : this.#channel.pollFd
    if (!this.#isChannelBroken && lane.readsInFlight > 0 && this.#channel.armForPark()) ms = 0
    this.#poll.set(SLOT_CHANNEL, channelFd, this.#channel.pollEvents)
    rests?.beforeSleep()
    if (this.#poll.wait(ms) > 0 && this.#poll.revents(SLOT_BELL) !== 0) this.#parts.bell.drain()
    rests?.afterSleep()
  }

  close(): void {
    this.#channel.close()
  }
}
