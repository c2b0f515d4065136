/** What requester and responder share: the events of the loop, and what the fabric does for both. */
import type { EventLoop } from './event-loop.ts'
import type { QueuePair } from './queue-pair.ts'
import type { WorkLosses } from './work-losses.ts'

/** Kinds of events. The integers that go with each are named in fabric.ts. */
export const EVENT = {
  ELIGIBLE: 0,
  WIRE_FREE: 1,
  START: 2,
  REQUEST: 3,
  PLACE: 4,
  ATOMIC: 5,
  ACK_TIMER: 6,
  RNR_TIMER: 7,
  // Answers, as they reach the requester.
  ACK: 8,
  READ_DONE: 9,
  ATOMIC_DONE: 10,
  NAK: 11,
  RNR: 12,
  OUT_OF_SEQUENCE: 13,
} as const

export interface Engine {
  readonly loop: EventLoop
  readonly losses: WorkLosses
  /** The queue pair at the other end, whatever its state; null when there is none. */
  peerOf(qp: QueuePair): QueuePair | null
  completeSend(qp: QueuePair, position: number, status: number): void
  completeReceive(
    qp: QueuePair,
    receive: { id: number; position: number; status: number; bytes: number; fromPs: number },
    opcode: number,
    immediate: number,
  ): void
  /** All outstanding requests of the queue pair are flushed, in posted order; once. */
  enterError(qp: QueuePair): void
  raise(qp: QueuePair, event: number): void
}
