/**
 * The NIC's own copy of a send queue: requests from the oldest that is not complete to the newest that has been
 * read from the ring. Owned by the requester. Positions count up from 0 and become a slot through the mask:
 *
 *     oldest ≤ next ≤ tail        oldest..next are under way, next..tail have not been started
 */

import { NO_RECORD } from '../../ring/layout.ts'
import type { LineConsumer } from '../../ring/line-ring.ts'
import { powerOfTwo } from './posting-queue.ts'
import type { Registration } from './registration.ts'
import { WR_OPCODE } from './verbs.ts'
import { isAtomic, loadWide, requestWords, SEND, SEND_WORDS } from './work-request.ts'

/** `progress` of a slot. */
export const WAITING = 0
export const UNDER_WAY = 1
/** Answered, or ended locally; `status` says how. */
export const ENDED = 2

/** `psn` of a request that has never been sent. */
export const NO_PSN = -1

export class SendSlots {
  readonly words: Int32Array
  readonly bytes: Uint8Array
  readonly #mask: number
  readonly postedPs: Float64Array
  readonly psn: Int32Array
  readonly progress: Uint8Array
  readonly status: Uint8Array
  /** The local memory of the transfer: where its payload comes from or goes to. */
  readonly local: (Registration | null)[]
  readonly localOffset: Float64Array
  /** What a READ copies from: set by the responder that admitted it. */
  readonly source: (Registration | null)[]
  readonly sourceOffset: Float64Array
  /** What an atomic found, low and high word. */
  readonly original: Int32Array
  oldest = 0
  next = 0
  tail = 0

  constructor(requestsMax: number) {
    const slots = powerOfTwo(requestsMax)
    this.#mask = slots - 1
    this.words = new Int32Array(slots * SEND_WORDS)
    this.bytes = new Uint8Array(this.words.buffer)
    this.postedPs = new Float64Array(slots)
    this.psn = new Int32Array(slots)
    this.progress = new Uint8Array(slots)
    this.status = new Uint8Array(slots)
    this.local = Array.from({ length: slots }, () => null)
    this.localOffset = new Float64Array(slots)
    this.source = Array.from({ length: slots }, () => null)
    this.sourceOffset = new Float64Array(slots)
    this.original = new Int32Array(2 * slots)
  }

  slot(position: number): number {
    return position & this.#mask
  }

  /** First word of the request at a position. */
  at(position: number): number {
    return (position & this.#mask) * SEND_WORDS
  }

  /** Takes one request out of the ring; false when there is none or no slot is free. */
  take(ring: LineConsumer, nowPs: number): boolean {
    if (((this.tail - this.oldest) | 0) > this.#mask) return false
    const from = ring.peek()
    if (from === NO_RECORD) return false
    const at = this.at(this.tail)
    const words = requestWords(ring.words, from)
    for (let i = 0; i < words; i++) this.words[at + i] = ring.words[from + i]!
    ring.release()
    const slot = this.slot(this.tail)
    this.postedPs[slot] = nowPs
    this.progress[slot] = WAITING
    this.status[slot] = 0
    this.psn[slot] = NO_PSN
    this.tail = (this.tail + 1) | 0
    return true
  }

  opcode(position: number): number {
    return this.words[this.at(position) + SEND.OPCODE]!
  }
  hasFlag(position: number, flag: number): boolean {
    return (this.words[this.at(position) + SEND.FLAGS]! & flag) !== 0
  }
  length(position: number): number {
    return this.words[this.at(position) + SEND.LENGTH]! >>> 0
  }
  wide(position: number, field: number): number {
    return loadWide(this.words, this.at(position) + field)
  }
  word(position: number, field: number): number {
    return this.words[this.at(position) + field]!
  }
  isAtomic(position: number): boolean {
    return isAtomic(this.opcode(position))
  }
  /** A READ or an atomic: what max_rd_atomic counts and FENCE waits for. */
  isRead(position: number): boolean {
    return this.opcode(position) === WR_OPCODE.RDMA_READ || this.isAtomic(position)
  }
  /** Consumes a receive at the other end. */
  needsReceive(position: number): boolean {
    const opcode = this.opcode(position)
    return (
      opcode === WR_OPCODE.SEND ||
      opcode === WR_OPCODE.SEND_WITH_IMM ||
      opcode === WR_OPCODE.RDMA_WRITE_WITH_IMM
    )
  }
  /** Packet sequence numbers it takes. */
  psnCount(position: number, mtu: number): number {
    return this.isAtomic(position) ? 1 : Math.max(1, Math.ceil(this.length(position) / mtu))
  }

  reset(): void {
    this.oldest = 0
    this.next = 0
    this.tail = 0
  }
}
