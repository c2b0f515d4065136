/**
 * The demand agent: one thread that takes clients in, answers their faults, and keeps in touch with the source. Owns the
 * demand lane, the session of the moment and its phase on the board; a turn is what is due of these, a park one
 * poll(2) on all that can announce itself.
 */
import { FaultlaneError } from '../errors.ts'
import type { Handshake } from '../fault/handshake.ts'
import { UserfaultfdBuffers } from '../fault/userfaultfd.ts'
import { POLL } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import type { EventFd } from '../native/event-fd.ts'
import { PollSet } from '../native/poll-set.ts'
import type { AgentEvent } from './agent-event.ts'
import { PHASE } from './board.ts'
import { ClientIntake, type ClientListener } from './client-intake.ts'
import { ClientSession, type ClientSessionParts } from './client-session.ts'
import { Crowd } from './crowd.ts'
import { LastingChannel, type LastingChannelParts, RECONNECT_PARK_MS } from './lasting-channel.ts'
import { SessionTally, type SessionTallyParts } from './session-tally.ts'

const SLOT_BELL = 0
const SLOT_SOCKET = 1
const SLOT_FAULTS = 2
const SLOT_CHANNEL = 3
/** While turns follow each other without a park, poll(2) is asked for the rare events this often. */
const TURNS_PER_LOOK = 256
/** How long a stop waits for the prefault agent to let go of the client: half of what a stop may take. */
const RELEASE_NS_MAX = 500e6

export interface DemandAgentParts extends ClientSessionParts, LastingChannelParts, SessionTallyParts {
  readonly listener: ClientListener
  readonly bell: EventFd
  /** Goes on after a client has ended. */
  readonly keep: boolean
  /** Told when a crowd of the client's threads stands still (crowd.ts), and when no longer. */
  readonly onCrowd?: ((isThere: boolean) => void) | undefined
}

export class DemandAgent {
  readonly role = 'demand'
  /** The agent has done its work: without `keep`, after its first client. */
  isFinished = false
  readonly #parts: DemandAgentParts
  readonly #poll = new PollSet(4)
  readonly #scratch = new NativeBuffer(4096)
  readonly #uffdBuffers = new UserfaultfdBuffers()
  readonly #channel: LastingChannel
  readonly #intake: ClientIntake
  readonly #tally: SessionTally
  #session: ClientSession | undefined
  #crowd = new Crowd()
  /** Told once the first faults are on their way: whoever listens would take the processor from them. */
  #untold: AgentEvent | undefined
  #turn = 0
  #lookAtFaults = true
  #lookAtChannel = true
  #lookAtSocket = true

  constructor(parts: DemandAgentParts) {
    const { pageCount, pageSize } = parts.channel.info
    this.#parts = parts
    this.#channel = new LastingChannel(parts)
    this.#tally = new SessionTally(parts)
    this.#intake = new ClientIntake(parts.listener, pageCount * pageSize, parts.clock)
    this.#poll.set(SLOT_BELL, parts.bell.fd, POLL.IN)
    this.#watch()
  }

  get hasSession(): boolean {
    return this.#session !== undefined
  }

  doWork(): number {
    const session = this.#session
    if (!session) {
      const work = this.#takeClient()
      return this.#session ? work : work + this.#lookAtSource()
    }
    if (session.end) return this.#letGo(session)
    if ((++this.#turn & (TURNS_PER_LOOK - 1)) === 0) {
      this.#wait(0)
      this.#tell()
    }
    const { lane, sharedPrefault, board, onCrowd } = this.#parts
    const channel = this.#channel
    let work = 0
    try {
      if (channel.isBroken) work += this.#reconnect()
      work += lane.doWork(this.#lookAtChannel && !channel.isBroken, this.#lookAtFaults)
      if (sharedPrefault && !channel.isBroken) work += sharedPrefault.doWork()
    } catch (error) {
      this.#onChannelError(error)
      work++
    }
    this.#lookAtFaults = true
    this.#lookAtChannel = true
    if (onCrowd && this.#crowd.note(lane.pending)) onCrowd(this.#crowd.isThere)
    if (board.remaining() === 0) session.stop('complete')
    else if (lane.isClientGone || sharedPrefault?.isClientGone) session.stop('client-gone')
    else if (this.#lookAtSocket) {
      this.#lookAtSocket = false
      if (session.hasHungUp(this.#scratch)) session.stop('client-gone')
    }
    return work
  }

  hasNews(): boolean {
    const session = this.#session
    if (!session) return false
    if (session.end) return session.isReleased
    return this.#parts.board.remaining() === 0 || this.#parts.lane.hasPromotedNews()
  }

  /** Sleeps until something may be to do. What poll(2) has not announced, the next turn does not ask for. */
  park(timeoutMs: number): void {
    const { lane, sharedPrefault } = this.#parts
    const channel = this.#channel
    let ms = timeoutMs
    if (this.#session) {
      if (lane.readsInFlight === 0) this.#tell()
      if (lane.hasOwnWork || sharedPrefault?.hasOwnWork) ms = Math.min(ms, 1)
      if (channel.isBroken) ms = Math.min(ms, RECONNECT_PARK_MS)
      if (!channel.isBroken && channel.current.armForPark()) ms = 0
      if (sharedPrefault && !sharedPrefault.isDrained && lane.pending === 0) ms = 0
    }
    // A source that does not answer is no reason to keep a client's arrival from anybody.
    if (this.#wait(ms) === 0 && ms > 0) this.#tell()
  }

  /** How many descriptors have something to say. */
  #wait(timeoutMs: number): number {
    const { current, isBroken } = this.#channel
    // Without a client nobody would take what the channel announces, and poll(2) would announce it for ever.
    if (this.#session && !isBroken) this.#poll.set(SLOT_CHANNEL, current.pollFd, current.pollEvents)
    const ready = this.#poll.wait(timeoutMs)
    if (ready > 0 && this.#poll.revents(SLOT_BELL) !== 0) this.#parts.bell.drain()
    if (this.#poll.revents(SLOT_SOCKET) !== 0) this.#lookAtSocket = true
    if (timeoutMs === 0) return ready
    this.#lookAtFaults = this.#poll.revents(SLOT_FAULTS) !== 0
    this.#lookAtChannel = this.#poll.revents(SLOT_CHANNEL) !== 0 || current.pollFd === -1
    if (this.#lookAtChannel && this.#parts.lane.readsInFlight === 0 && this.#session) this.#checkIdleChannel()
    return ready
  }

  #watch(): void {
    const session = this.#session
    const { current, isBroken } = this.#channel
    this.#poll.set(SLOT_SOCKET, session?.handshake.socket ?? this.#intake.fd, POLL.IN)
    this.#poll.set(SLOT_FAULTS, session?.handshake.userfaultfd ?? -1, POLL.IN)
    this.#poll.set(SLOT_CHANNEL, session && !isBroken ? current.pollFd : -1, POLL.IN)
  }

  /** The channel became readable with nothing asked for: the source has closed it. */
  #checkIdleChannel(): void {
    if (this.#channel.isBroken) return
    try {
      this.#channel.current.poll(this.#parts.lane, 1)
    } catch (error) {
      this.#onChannelError(error)
    }
  }

  /** Without a client nobody waits for the source, but it is told, and dialled again, before the next one comes. */
  #lookAtSource(): number {
    if (this.#channel.isBroken) return this.#reconnect()
    this.#checkIdleChannel()
    return 0
  }

  #onChannelError(error: unknown): void {
    if (!(error instanceof FaultlaneError)) throw error
    if (this.#channel.isBroken) return
    this.#channel.lose(error.message)
    if (this.#parts.onLoss === 'kill') this.#session?.killClient()
    this.#watch()
  }

  /** Whoever touches a missing page waits meanwhile, and never sees a wrong byte. */
  #reconnect(): number {
    if (!this.#channel.isDialDue) return 0
    if (!this.#channel.tryReopen()) {
      if (this.#parts.onLoss === 'kill') this.#session?.killClient()
      return 0
    }
    this.#watch()
    return 1
  }

  #takeClient(): number {
    const intake = this.#intake
    try {
      if (!intake.isGreeting) {
        if (!intake.tryAccept()) return 0
        this.#watch()
      }
      const handshake = intake.step()
      if (handshake === 'waiting') return 0
      this.#begin(handshake)
    } catch (error) {
      intake.renew()
      this.#watch()
      if (!(error instanceof FaultlaneError)) throw error
      this.#parts.notify({ kind: 'refused', reason: error.message })
    }
    return 1
  }

  #begin(handshake: Handshake): void {
    this.#checkIdleChannel() // The source may have gone and come back since the last client.
    const { pageSize } = this.#channel.current.info
    const session = new ClientSession(handshake, pageSize, this.#uffdBuffers, this.#parts)
    this.#session = session
    this.#lookAtFaults = true
    this.#watch()
    const { clientPid, regions } = handshake
    this.#untold = { kind: 'client', pid: clientPid, pages: session.pagesTotal, regions: regions.length }
  }

  #letGo(session: ClientSession): number {
    if (!session.isReleased) return 0
    this.#tell()
    const report = session.finish(this.#tally)
    this.#session = undefined
    if (this.#crowd.isThere) this.#parts.onCrowd?.(false)
    this.#crowd = new Crowd()
    this.#tally.restart()
    this.#intake.renew()
    this.#watch()
    this.#parts.notify({ kind: 'ended', report })
    if (!this.#parts.keep) this.isFinished = true
    return 1
  }

  #tell(): void {
    const event = this.#untold
    this.#untold = undefined
    if (!event) return
    this.#parts.notify(event)
    // The only client is in: from here on not even SIGKILL leaves a socket file behind.
    if (this.#parts.keep) return
    this.#parts.listener.close()
    this.#channel.tellSocketFile()
  }

  /** Told to stop: ends the session as it is. The client's missing pages stay missing. */
  stop(): void {
    this.#intake.hangUp()
    const idle = new PollSet(1) // Nothing that may be readable all the time, and that nobody reads any more.
    const session = this.#session
    if (session && this.#parts.board.phase() === PHASE.RUNNING) session.stop('stopped')
    const endNs = this.#parts.clock.nowNs() + RELEASE_NS_MAX
    while (this.#session && this.#parts.clock.nowNs() < endNs) if (this.doWork() === 0) idle.wait(1)
    this.#parts.listener.close() // First: whoever sees the channel end finds no file without a listener.
    this.#channel.close()
  }
}
