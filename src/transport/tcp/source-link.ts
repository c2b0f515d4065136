/** The emulated link as a source uses it: the pure model, the machine's clock, and how well the machine kept to it. */
import { monotonicClock } from '../../clock.ts'
import { LatencyHistogram } from '../../ring/histogram.ts'
import { Link } from './link.ts'
import { parseLink } from './link-spec.ts'

/** Sleeping ends about 100 µs late on a virtual machine: this long before something is due, spin instead. */
const SPIN_NS = 250_000
/** Store and forward: a longer frame would hold its first pages back for its last. 0.13 ms at 1 Gbit/s. */
const FRAME_BYTES_MAX = 16 * 1024

export class SourceLink {
  readonly frameBytesMax: number
  readonly #link: Link
  readonly #lateness: LatencyHistogram

  constructor(spec: string, lateness: Int32Array<SharedArrayBuffer> | undefined) {
    const parsed = parseLink(spec)
    this.#link = new Link(parsed)
    this.frameBytesMax = Math.min(FRAME_BYTES_MAX, parsed.queueBytes)
    this.#lateness = new LatencyHistogram(lateness ?? LatencyHistogram.allocate())
  }

  nowNs(): number {
    return monotonicClock.nowNs()
  }

  requestVisibleNs(): number {
    return this.#link.requestVisibleNs(this.nowNs())
  }

  /** When the queue takes another frame. */
  get roomAtNs(): number {
    return this.#link.roomAtNs(this.frameBytesMax)
  }

  take(bytes: number): number {
    return this.#link.take(bytes, this.nowNs())
  }

  /** A demand reply that was due is handed to the socket now. */
  recordLateness(latenessNs: number): void {
    this.#lateness.record(latenessNs)
  }

  /** How long the thread may sleep when something is due at `dueNs`: until shortly before; 0 when that is now. */
  sleepMs(dueNs: number, timeoutMs: number): number {
    if (dueNs === Infinity) return timeoutMs
    return Math.max(0, Math.min(timeoutMs, (dueNs - this.nowNs() - SPIN_NS) / 1e6))
  }
}
