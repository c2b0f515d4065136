/**
 * An emulated link: one bottleneck of a given rate for everything that a source sends, to whomever, and half the
 * round trip each way. Pure: time is handed in, never decreasing. Owned by the source's thread.
 *
 * First in, first out over all connections and both lanes, because each frame departs when the last one of all has:
 * what stands in front of a demand reply delays it, whoever put it there. Store and forward: a frame is delivered
 * whole when its last byte has come.
 */
import type { LinkSpec } from './link-spec.ts'

export class Link {
  readonly #nsPerByte: number
  readonly #oneWayNs: number
  readonly #queueBytes: number
  /** When the bottleneck will have sent all that it has taken. */
  #idleAtNs = 0

  constructor(spec: LinkSpec) {
    this.#nsPerByte = spec.bytesPerSecond === 0 ? 0 : 1e9 / spec.bytesPerSecond
    this.#oneWayNs = spec.rttNs / 2
    this.#queueBytes = spec.queueBytes
  }

  /** When the source may see a request that the destination's kernel has delivered now. */
  requestVisibleNs(receivedNs: number): number {
    return receivedNs + this.#oneWayNs
  }

  /** When it will have sent all that it has taken. */
  get idleAtNs(): number {
    return this.#idleAtNs
  }

  /** When a frame of `bytes` will find room in the queue, if nothing else is taken before. An empty queue takes a frame of any size. */
  roomAtNs(bytes: number): number {
    return this.#idleAtNs - Math.max(0, this.#queueBytes - bytes) * this.#nsPerByte
  }

  /** Takes a frame into the queue: when its last byte reaches the other end. */
  take(bytes: number, nowNs: number): number {
    this.#idleAtNs = Math.max(this.#idleAtNs, nowNs) + bytes * this.#nsPerByte
    return this.#idleAtNs + this.#oneWayNs
  }
}
