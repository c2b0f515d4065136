/**
 * The demand lane's channel over all its connections: it is lost, dialled again and again, and another takes its place.
 * Owned by the demand agent, or that of a LazyMemory. While it is broken the lane takes faults and posts nothing; what was in flight is asked
 * for again. Whoever answers for another image is refused.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import type { Channel, SocketFile } from '../transport/transport.ts'
import type { AgentEvent } from './agent-event.ts'
import type { DemandLane } from './demand-lane.ts'
import type { PrefaultLane } from './prefault-lane.ts'

const RECONNECT_MS = 100
/** Doubled for a source whose connections do not last. */
const RECONNECT_MS_MAX = 3200
/** A channel that lived so long was well. */
const CHANNEL_LIVED_NS = 1e9
/** How soon an agent that has nothing else to do looks whether it is time to dial. */
export const RECONNECT_PARK_MS = RECONNECT_MS / 4

export interface LastingChannelParts {
  readonly channel: Channel
  /** Opens the channel anew; throws while the source is away. */
  readonly reopen: () => Channel
  readonly lane: DemandLane
  /** Set when prefault shares the demand connection and thread (the naive way). */
  readonly sharedPrefault: PrefaultLane | undefined
  /** Its file is what each source is told of; see Channel.tellSocketFile(). Undefined: there is none to be left behind. */
  readonly listener: { readonly file: SocketFile | undefined } | undefined
  readonly clock: Clock
  readonly notify: (event: AgentEvent) => void
}

export class LastingChannel {
  /** The last one that was open, closed while isBroken. */
  current: Channel
  isBroken = false
  readonly #parts: LastingChannelParts
  #openedAtNs: number
  #reconnectAtNs = 0
  #reconnectMs = 0
  #lossReason = ''

  constructor(parts: LastingChannelParts) {
    this.#parts = parts
    this.current = parts.channel
    this.#openedAtNs = parts.clock.nowNs()
    this.tellSocketFile()
  }

  /** The listener has been opened or closed. */
  tellSocketFile(): void {
    if (this.#parts.listener) this.current.tellSocketFile?.(this.#parts.listener.file)
  }

  /** It broke: takes the reads back, and says so. */
  lose(reason: string): void {
    const { lane, sharedPrefault, clock, notify } = this.#parts
    this.isBroken = true
    this.current.close()
    lane.reclaimReads()
    sharedPrefault?.reclaimReads()
    notify({ kind: 'source-lost', reason })
    // At once, but not again and again when each connection breaks as soon as it is used.
    const nowNs = clock.nowNs()
    const hasLived = nowNs - this.#openedAtNs > CHANNEL_LIVED_NS
    this.#reconnectMs = hasLived ? 0 : nextReconnectMs(this.#reconnectMs)
    this.#reconnectAtNs = nowNs + this.#reconnectMs * 1e6
  }

  get isDialDue(): boolean {
    return this.#parts.clock.nowNs() >= this.#reconnectAtNs
  }

  /** Asks for the source once more, which takes a bounded time. False: not yet. */
  tryReopen(): boolean {
    const { lane, clock, notify } = this.#parts
    try {
      const channel = this.#openSameImage()
      this.current = channel
      this.#openedAtNs = clock.nowNs()
      this.#lossReason = ''
      lane.replaceChannel(channel)
      this.isBroken = false
      this.tellSocketFile()
      notify({ kind: 'source-back' })
      return true
    } catch (error) {
      if (!(error instanceof FaultlaneError)) throw error
      this.#reconnectAtNs = clock.nowNs() + Math.max(RECONNECT_MS, this.#reconnectMs) * 1e6
      // Somebody answers, but not our source: said once.
      if (error.code !== 'CONNECT_FAILED' && error.message !== this.#lossReason) {
        this.#lossReason = error.message
        notify({ kind: 'source-lost', reason: error.message })
      }
      return false
    }
  }

  close(): void {
    this.current.close()
  }

  #openSameImage(): Channel {
    const channel = this.#parts.reopen()
    const [got, expected] = [channel.info.imageId, this.current.info.imageId]
    if (got === expected) return channel
    channel.close()
    throw new FaultlaneError({
      code: 'GEOMETRY_MISMATCH',
      what: 'image of the source that came back',
      got,
      expected,
    })
  }
}

function nextReconnectMs(ms: number): number {
  return Math.min(RECONNECT_MS_MAX, Math.max(RECONNECT_MS, ms * 2))
}
