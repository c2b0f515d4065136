/**
 * The poster's end of a send or receive queue: a ring in shared memory that the poster writes and the NIC reads.
 * The NIC takes records out soon; what bounds the queue is `outstanding`: a slot comes back only when a
 * completion of it, or of a later request of the queue, has been polled. Requests that are never signalled
 * fill the queue for good, as on a NIC.
 */
import { NO_RECORD, type RingMemory } from '../../ring/layout.ts'
import { allocateLineRing, LineConsumer, LineProducer } from '../../ring/line-ring.ts'

export class PostingQueue {
  readonly requestsMax: number
  /** What a poster in another thread or process builds its own end from. */
  readonly ring: RingMemory
  /** The NIC's end. */
  readonly consumer: LineConsumer
  readonly #producer: LineProducer
  #posted = 0
  #retired = 0

  /** @param ring at least `requestsMax` records, empty */
  constructor(
    requestsMax: number,
    recordWords: number,
    ring = allocateLineRing(powerOfTwo(requestsMax), recordWords),
  ) {
    this.requestsMax = requestsMax
    this.ring = ring
    this.#producer = new LineProducer(ring)
    this.consumer = new LineConsumer(ring)
  }

  get words(): Int32Array {
    return this.#producer.words
  }

  /** Requests whose slots have not come back. */
  get outstanding(): number {
    return (this.#posted - this.#retired) | 0
  }

  /** The NIC: records wait to be taken. */
  get hasPosted(): boolean {
    return this.consumer.peek() !== NO_RECORD
  }

  /** Index in `words` of a free record, ours until commit(); NO_RECORD when the queue is full. */
  tryClaim(): number {
    return this.outstanding >= this.requestsMax ? NO_RECORD : this.#producer.tryClaim()
  }

  commit(): void {
    this.#posted = (this.#posted + 1) | 0
    this.#producer.commit()
  }

  /** The request at `position` (counted from 0 since the last reset) has completed, and all before it. */
  retire(position: number): void {
    const retired = (position + 1) | 0
    if (((retired - this.#retired) | 0) > 0) this.#retired = retired
  }

  /** Empties the queue; the positions start again at 0. */
  reset(): void {
    while (this.consumer.peek() !== NO_RECORD) this.consumer.release()
    this.#posted = 0
    this.#retired = 0
  }
}

/** The smallest power of two that is not less than `count` (1 to 2^30). */
export function powerOfTwo(count: number): number {
  return count <= 1 ? 1 : 2 ** (32 - Math.clz32(count - 1))
}
