/**
 * A completion queue: a ring in shared memory that the NIC writes and one thread polls. When the NIC finds it
 * full, a completion is lost: the queue is broken for good, and so are the queue pairs that use it.
 */
import { LINE_WORDS, NO_RECORD, type RingMemory } from '../../ring/layout.ts'
import { allocateLineRing, LineConsumer, LineProducer, lineRingWords } from '../../ring/line-ring.ts'
import { type PostingQueue, powerOfTwo } from './posting-queue.ts'
import { DONE, DONE_WORDS, storeWide, type WorkCompletion } from './work-request.ts'

/** poll() of a queue that has overrun. */
export const CQ_BROKEN = -1

/** Memory of a completion queue: a ring, and behind it a word that says that it has overrun. */
export function allocateCompletionRing(entries: number): RingMemory {
  // Rounded up as NICs do.
  return allocateLineRing(powerOfTwo(entries), DONE_WORDS, LINE_WORDS)
}

export class CompletionQueue {
  readonly #producer: LineProducer
  readonly #consumer: LineConsumer
  readonly #senders = new Map<number, PostingQueue>()
  readonly #receivers = new Map<number, PostingQueue>()
  /** What a poller in another thread or process builds its own end from. */
  readonly ring: RingMemory
  readonly #brokenAt: number

  /** @param ring what allocateCompletionRing() made, or memory laid out like it */
  constructor(ring: RingMemory) {
    this.ring = ring
    this.#brokenAt = ring.offset + lineRingWords(ring.capacity, DONE_WORDS)
    this.#producer = new LineProducer(ring)
    this.#consumer = new LineConsumer(ring)
  }

  get isBroken(): boolean {
    return Atomics.load(this.ring.words, this.#brokenAt) !== 0
  }

  get capacity(): number {
    return this.#producer.capacity
  }

  /** The queues whose slots completions give back. */
  attach(qpNumber: number, sender: PostingQueue | null, receiver: PostingQueue | null): void {
    if (sender !== null) this.#senders.set(qpNumber, sender)
    if (receiver !== null) this.#receivers.set(qpNumber, receiver)
  }

  detach(qpNumber: number): void {
    this.#senders.delete(qpNumber)
    this.#receivers.delete(qpNumber)
  }

  /** Takes the oldest completion: 1, or 0 when there is none, or CQ_BROKEN. */
  poll(completion: WorkCompletion): number {
    if (this.isBroken) return CQ_BROKEN
    const at = this.#consumer.peek()
    if (at === NO_RECORD) return 0
    const words = this.#consumer.words
    completion.read(words, at)
    const queues = words[at + DONE.IS_RECEIVE] === 1 ? this.#receivers : this.#senders
    queues.get(completion.qpNumber)?.retire(words[at + DONE.POSITION]!)
    this.#consumer.release()
    return 1
  }

  /** The NIC: false when the queue is full, and from then on broken. */
  add(
    id: number,
    status: number,
    opcode: number,
    bytes: number,
    immediate: number,
    qpNumber: number,
    position: number,
    isReceive: boolean,
    nicNs: number,
  ): boolean {
    if (this.isBroken) return false
    const at = this.#producer.tryClaim()
    if (at === NO_RECORD) {
      Atomics.store(this.ring.words, this.#brokenAt, 1)
      return false
    }
    const words = this.#producer.words
    storeWide(words, at + DONE.ID, id)
    words[at + DONE.STATUS] = status
    words[at + DONE.OPCODE] = opcode
    words[at + DONE.BYTES] = bytes
    words[at + DONE.IMMEDIATE] = immediate
    words[at + DONE.QP_NUMBER] = qpNumber
    words[at + DONE.POSITION] = position
    words[at + DONE.IS_RECEIVE] = isReceive ? 1 : 0
    words[at + DONE.NIC_NS] = Math.min(nicNs, 2 ** 31 - 1)
    this.#producer.commit()
    return true
  }
}
