/**
 * How requests leave a send queue: in posted order, with success when they are signalled and with an error always.
 * Of the requests that have ended only the oldest may complete, so a late answer holds back all behind it.
 */
import type { Engine } from './engine.ts'
import type { QueuePair } from './queue-pair.ts'
import { ENDED } from './send-slots.ts'
import { ASYNC_EVENT, QP_STATE, WC_STATUS } from './verbs.ts'

export class Retirement {
  readonly #engine: Engine

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Completes what has ended, in posted order. */
  retire(qp: QueuePair): void {
    const slots = qp.slots
    while (qp.state !== QP_STATE.ERR && slots.oldest !== slots.tail) {
      const position = slots.oldest
      const slot = slots.slot(position)
      if (slots.progress[slot] !== ENDED) break
      if (slots.status[slot] !== WC_STATUS.SUCCESS) {
        this.fail(qp, slots.status[slot]!)
        return
      }
      slots.oldest = (position + 1) | 0
      if (((slots.next - slots.oldest) | 0) < 0) slots.next = slots.oldest
      if (qp.isSignalled(position)) this.#engine.completeSend(qp, position, WC_STATUS.SUCCESS)
    }
    this.drain(qp)
  }

  /** The oldest request ends with an error, always signalled; the rest is flushed. */
  fail(qp: QueuePair, status: number): void {
    const position = qp.slots.oldest
    qp.slots.oldest = (position + 1) | 0
    this.#engine.completeSend(qp, position, status)
    this.#engine.enterError(qp)
  }

  /** Says once that nothing is under way any more, if the queue pair is to stop there. */
  drain(qp: QueuePair): void {
    if (qp.state !== QP_STATE.SQD || !qp.isSqdNotified || qp.slots.oldest !== qp.slots.next) return
    qp.isSqdNotified = false
    this.#engine.raise(qp, ASYNC_EVENT.SQ_DRAINED)
  }

  /** Everything outstanding ends with WR_FLUSH_ERR, in posted order. */
  flush(qp: QueuePair): void {
    const slots = qp.slots
    for (;;) {
      while (slots.oldest !== slots.tail) {
        const position = slots.oldest
        slots.oldest = (position + 1) | 0
        this.#engine.completeSend(qp, position, WC_STATUS.WR_FLUSH_ERR)
      }
      slots.next = slots.tail
      if (!slots.take(qp.sender.consumer, this.#engine.loop.nowPs)) return
    }
  }
}
