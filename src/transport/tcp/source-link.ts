/**
 * The emulated link as a source uses it: the pure model, the machine's clock, and how well the machine kept to it.
 *
 * What enters the link does so in the link's own time, not when the source's thread gets to it: the thread looks half
 * a round trip ahead, because whatever asks later will be seen later than that, and it may be late, because what is
 * late enters at the time it should have. So the thread can sleep, and neither rate nor round trip suffers; only the
 * last step, handing to the socket what has arrived, is as late as its wake-up.
 */
import { type Clock, monotonicClock } from '../../clock.ts'
import { LatencyHistogram } from '../../ring/histogram.ts'
import type { SourceOptions } from '../source.ts'
import { Link } from './link.ts'
import { parseLink } from './link-spec.ts'
import { WakeMargin } from './wake-margin.ts'
import { LANE_CODE } from './wire.ts'

/** Store and forward: a longer frame would hold its first pages back for its last. 0.13 ms at 1 Gbit/s. */
const FRAME_BYTES_MAX = 16 * 1024
/** Into the link in one turn. */
const FRAMES_PER_TURN_MAX = 64

/** What the link asks of a connection behind it. */
export interface LinkEntrant {
  /** Of LANE_CODE; demand goes first where two could enter at the same time. */
  readonly lane: number
  readonly endReason: string
  /** When its first read that waits may be seen; Infinity: none waits. */
  readonly nextVisibleNs: number
  /** When its first frame under way arrives; Infinity: none is. */
  readonly nextArrivalNs: number
  /** Its next frame, of `bytesMax` at most, enters at `enterNs`. */
  enterLink(enterNs: number, bytesMax: number): void
}

/** Shared memory of histograms: how late demand replies were delivered, and how long they stood in the queue. */
export type LinkFigures = Pick<SourceOptions, 'linkLateness' | 'linkQueueing'>

export class SourceLink {
  readonly frameBytesMax: number
  readonly #link: Link
  readonly #lookAheadNs: number
  readonly #lateness: LatencyHistogram
  readonly #queueing: LatencyHistogram
  readonly #clock: Clock
  readonly #margin = new WakeMargin()
  #startAt = 0

  constructor(spec: string, figures: LinkFigures = {}, clock: Clock = monotonicClock) {
    this.#clock = clock
    const parsed = parseLink(spec)
    this.#link = new Link(parsed)
    this.#lookAheadNs = parsed.rttNs / 2
    this.frameBytesMax = Math.min(FRAME_BYTES_MAX, parsed.queueBytes)
    this.#lateness = new LatencyHistogram(figures.linkLateness ?? LatencyHistogram.allocate())
    this.#queueing = new LatencyHistogram(figures.linkQueueing ?? LatencyHistogram.allocate())
  }

  /** When the source may see a request that the kernel received `ageNs` ago. */
  requestVisibleNs(ageNs: number): number {
    return this.#link.requestVisibleNs(this.#clock.nowNs() - ageNs)
  }

  /** Lets in what enters the link next, frame by frame, demand before bulk where both could; how many frames. */
  fill(connections: readonly LinkEntrant[]): number {
    const untilNs = this.#clock.nowNs() + this.#lookAheadNs
    for (let frames = 0; frames < FRAMES_PER_TURN_MAX; frames++) {
      const roomNs = this.#link.roomAtNs(this.frameBytesMax)
      let next: LinkEntrant | undefined
      let nextNs = untilNs
      for (let i = 0; i < connections.length; i++) {
        const connection = connections[(this.#startAt + i) % connections.length] as LinkEntrant
        const enterNs = Math.max(connection.nextVisibleNs, roomNs)
        if (enterNs > nextNs || connection.endReason !== '') continue
        if (enterNs === nextNs && next !== undefined && connection.lane !== LANE_CODE.demand) continue
        next = connection
        nextNs = enterNs
      }
      if (!next) return frames
      if (next.lane === LANE_CODE.demand) {
        this.#queueing.record(Math.max(0, this.#link.idleAtNs - next.nextVisibleNs))
      }
      next.enterLink(nextNs, this.frameBytesMax)
      this.#startAt = (connections.indexOf(next) + 1) % connections.length
    }
    return FRAMES_PER_TURN_MAX
  }

  /** Takes a frame that enters at `enterNs`: when its last byte reaches the other end. */
  take(bytes: number, enterNs: number): number {
    return this.#link.take(bytes, enterNs)
  }

  /** A demand reply is handed to the socket so long after it was due. */
  recordLateness(latenessNs: number): void {
    this.#lateness.record(latenessNs)
    this.#margin.onDelivered(latenessNs)
  }

  /** How long the thread may sleep; 0: something is due within what a sleep is exact. */
  sleepMs(connections: readonly LinkEntrant[], timeoutMs: number): number {
    const nowNs = this.#clock.nowNs()
    const roomNs = this.#link.roomAtNs(this.frameBytesMax)
    let demandNs = Infinity
    let bulkNs = Infinity
    for (let i = 0; i < connections.length; i++) {
      const connection = connections[i] as LinkEntrant
      if (connection.lane === LANE_CODE.demand) demandNs = Math.min(demandNs, connection.nextArrivalNs)
      else bulkNs = Math.min(bulkNs, connection.nextArrivalNs)
      // Nothing waits for its entering yet: late is soon enough.
      const enterNs = Math.max(connection.nextVisibleNs, roomNs) - this.#lookAheadNs
      bulkNs = Math.min(bulkNs, enterNs)
    }
    return Math.min(timeoutMs, this.#margin.sleepNs(demandNs, bulkNs, nowNs) / 1e6)
  }

  /** A sleep has ended by its time. */
  onWoken(): void {
    this.#margin.onWoken(this.#clock.nowNs())
  }

  nowNs(): number {
    return this.#clock.nowNs()
  }
}
