/**
 * The sending half of every queue pair: starts requests in posted order, gives up or repeats them, and completes
 * them in posted order. Owns QueuePair.slots and the requester's state there.
 *
 * What blocks the head of a send queue blocks all behind it: a used-up max_rd_atomic, a fence, a receiver that
 * was not ready. That is the standard's order, and why demand READs need a queue pair of their own.
 */
import { copyBytes } from './copy-bytes.ts'
import { type Engine, EVENT } from './engine.ts'
import { carryOutLocally, checkLocally, isLocal } from './local-check.ts'
import { CONTROL_BYTES } from './nic-model.ts'
import type { QueuePair } from './queue-pair.ts'
import type { Retirement } from './retirement.ts'
import { ENDED, NO_PSN, UNDER_WAY, WAITING } from './send-slots.ts'
import { ackTimeoutPs, PSN_MASK, QP_STATE, rnrTimerPs, SEND_FLAG, WC_STATUS } from './verbs.ts'

const TWO_32 = 2 ** 32
/** rnr_retry of 7: as often as it takes. */
const RNR_FOR_EVER = 7

export class Requester {
  readonly #engine: Engine
  readonly #retirement: Retirement

  constructor(engine: Engine, retirement: Retirement) {
    this.#engine = engine
    this.#retirement = retirement
  }

  /** The poster has put requests into the ring. */
  onDoorbell(qp: QueuePair): void {
    while (qp.slots.take(qp.sender.consumer, this.#engine.loop.nowPs));
    if (qp.state === QP_STATE.ERR) this.#retirement.flush(qp)
    else this.run(qp)
  }

  onStart(qp: QueuePair): void {
    if (qp.startDuePs <= this.#engine.loop.nowPs) qp.startDuePs = Infinity
    this.run(qp)
  }

  /** Starts what may start now, and sets an event for what may start later. */
  run(qp: QueuePair): void {
    const slots = qp.slots
    const nowPs = this.#engine.loop.nowPs
    while (qp.state === QP_STATE.RTS && !qp.isRnrWaiting && slots.next !== slots.tail) {
      const position = slots.next
      const slot = slots.slot(position)
      if (slots.progress[slot] === ENDED) {
        if (slots.status[slot] !== WC_STATUS.SUCCESS) return
        slots.next = (position + 1) | 0 // Carried out before a retry began.
        continue
      }
      const duePs = Math.max(slots.postedPs[slot]! + qp.device.model.postPs, qp.issueFreePs)
      if (duePs > nowPs) {
        this.#startAt(qp, duePs)
        return
      }
      if (slots.hasFlag(position, SEND_FLAG.FENCE) && qp.readsInFlight > 0) return
      if (slots.isRead(position) && qp.readsInFlight >= this.#readsMax(qp)) return
      this.#start(qp, position)
    }
  }

  /** The last byte of a request is on the wire. */
  onSent(qp: QueuePair, token: number, extraPs: number): void {
    if (Math.floor(token / TWO_32) !== qp.epoch) return
    const loop = this.#engine.loop
    const model = qp.device.model
    this.#expectAnswer(qp)
    const peer = this.#engine.peerOf(qp)
    if (peer === null || this.#engine.losses.takeRequest()) return
    const arrivalPs = Math.max(loop.nowPs + model.linkPs + extraPs, qp.lastArrivalPs)
    qp.lastArrivalPs = peer.device.useEngine(arrivalPs)
    loop.at(qp.lastArrivalPs, EVENT.REQUEST, qp.index, token | 0, qp.epoch)
  }

  onAck(qp: QueuePair, position: number): void {
    if (!this.#settleBefore(qp, position)) return
    qp.slots.progress[qp.slots.slot(position)] = ENDED
    this.#goOn(qp)
  }

  onReadDone(qp: QueuePair, position: number): void {
    if (!this.#settleBefore(qp, position)) return
    const slots = qp.slots
    const slot = slots.slot(position)
    const source = slots.source[slot]
    const local = slots.local[slot]
    if (source != null && local != null) {
      const offset = local.offset + slots.localOffset[slot]!
      if (local.key === 0) slots.status[slot] = WC_STATUS.LOC_PROT_ERR
      else copyBytes(source.bytes, slots.sourceOffset[slot]!, local.bytes, offset, slots.length(position))
    }
    this.#endRead(qp, slot)
  }

  onAtomicDone(qp: QueuePair, position: number): void {
    if (!this.#settleBefore(qp, position)) return
    const slots = qp.slots
    const slot = slots.slot(position)
    const local = slots.local[slot]!
    const offset = local.offset + slots.localOffset[slot]!
    if (local.key === 0) slots.status[slot] = WC_STATUS.LOC_PROT_ERR
    else {
      local.view.setInt32(offset, slots.original[2 * slot]!, true)
      local.view.setInt32(offset + 4, slots.original[2 * slot + 1]!, true)
    }
    this.#endRead(qp, slot)
  }

  /** The other end refuses for good, or answers what was not asked. */
  onNak(qp: QueuePair, position: number, status: number): void {
    if (!this.#settleBefore(qp, position)) return
    this.#retirement.retire(qp)
    if (qp.state !== QP_STATE.ERR) this.#retirement.fail(qp, status)
  }

  /** The other end had no receive: wait as long as it says, then repeat from there. */
  onReceiverNotReady(qp: QueuePair, position: number, timerCode: number): void {
    if (!this.#settleBefore(qp, position)) return
    this.#retirement.retire(qp)
    if (qp.state === QP_STATE.ERR) return
    if (qp.rnrRetry !== RNR_FOR_EVER) {
      if (qp.rnrRetriesLeft === 0) {
        this.#retirement.fail(qp, WC_STATUS.RNR_RETRY_EXC_ERR)
        return
      }
      qp.rnrRetriesLeft--
    }
    this.#rewind(qp)
    qp.isRnrWaiting = true
    const loop = this.#engine.loop
    loop.at(loop.nowPs + rnrTimerPs(timerCode), EVENT.RNR_TIMER, qp.index, 0, qp.epoch)
  }

  onRnrTimer(qp: QueuePair): void {
    qp.isRnrWaiting = false
    this.run(qp)
  }

  /** The other end has seen a gap before `position`: repeat from the first that it has not acknowledged. */
  onOutOfSequence(qp: QueuePair): void {
    if (qp.slots.oldest !== qp.slots.next) this.#retry(qp)
  }

  onAckTimer(qp: QueuePair): void {
    const loop = this.#engine.loop
    qp.isAckTimerDue = false
    if (qp.slots.oldest === qp.slots.next) return
    // A NIC restarts its timer with every packet. Here what is still queued somewhere counts as such.
    const peer = this.#engine.peerOf(qp)
    const isMoving =
      qp.isRnrWaiting ||
      !qp.device.port.isIdle(qp.requestFlow) ||
      (peer !== null &&
        (!peer.device.port.isIdle(peer.responseFlow) || peer.responder.serviceFreePs > loop.nowPs))
    if (isMoving || qp.ackDeadlinePs > loop.nowPs) {
      this.#expectAnswer(qp, isMoving)
      return
    }
    this.#retry(qp)
  }

  reset(qp: QueuePair): void {
    qp.readsInFlight = 0
    qp.isRnrWaiting = false
    qp.issueFreePs = 0
    qp.startDuePs = Infinity
    qp.isAckTimerDue = false
  }

  #start(qp: QueuePair, position: number): void {
    const slots = qp.slots
    const slot = slots.slot(position)
    const isOwn = isLocal(slots.opcode(position))
    const status = isOwn ? carryOutLocally(qp, position) : checkLocally(qp, position)
    if (status !== WC_STATUS.SUCCESS || isOwn) {
      // A failed one stays at `next`: nothing starts behind it, and it ends when all before it have.
      slots.progress[slot] = ENDED
      slots.status[slot] = status
      if (status === WC_STATUS.SUCCESS) slots.next = (position + 1) | 0
      this.#retirement.retire(qp)
      return
    }
    slots.next = (position + 1) | 0
    slots.progress[slot] = UNDER_WAY
    if (slots.psn[slot] === NO_PSN) {
      slots.psn[slot] = qp.sqPsn
      qp.sqPsn = (qp.sqPsn + slots.psnCount(position, qp.pathMtu)) & PSN_MASK
    }
    const { port, model } = qp.device
    const nowPs = this.#engine.loop.nowPs
    const token = qp.epoch * TWO_32 + (position >>> 0)
    if (slots.isRead(position)) {
      qp.readsInFlight++
      port.enqueue(qp.requestFlow, token, CONTROL_BYTES, nowPs, false)
      return
    }
    const length = slots.length(position)
    qp.issueFreePs = nowPs + model.writeGapPs(length)
    if (slots.local[slot] === null) port.enqueue(qp.requestFlow, token, length, nowPs, false)
    else port.enqueue(qp.requestFlow, token, length, nowPs + model.writeFetchPs, true)
  }

  #startAt(qp: QueuePair, timePs: number): void {
    if (qp.startDuePs <= timePs) return
    qp.startDuePs = timePs
    this.#engine.loop.at(timePs, EVENT.START, qp.index, 0, qp.epoch)
  }

  #readsMax(qp: QueuePair): number {
    if (qp.maxRdAtomic === 0) return Infinity // It is going to be refused, not to wait.
    const peer = this.#engine.peerOf(qp)
    return peer === null ? qp.maxRdAtomic : Math.min(qp.maxRdAtomic, Math.max(1, peer.maxDestRdAtomic))
  }

  /** An answer acknowledges all before it, but a READ before it is missing its bytes: that one must come again. */
  #settleBefore(qp: QueuePair, position: number): boolean {
    const slots = qp.slots
    if (((position - slots.oldest) | 0) < 0 || ((slots.next - position) | 0) <= 0) return false
    if (slots.progress[slots.slot(position)] !== UNDER_WAY) return false
    for (let p = slots.oldest; p !== position; p = (p + 1) | 0) {
      if (slots.progress[slots.slot(p)] !== UNDER_WAY) continue
      if (slots.isRead(p)) return false
      slots.progress[slots.slot(p)] = ENDED
    }
    qp.retriesLeft = qp.retryCount
    this.#expectAnswer(qp)
    return true
  }

  #endRead(qp: QueuePair, slot: number): void {
    qp.readsInFlight--
    qp.slots.progress[slot] = ENDED
    this.#goOn(qp)
  }

  #goOn(qp: QueuePair): void {
    qp.rnrRetriesLeft = qp.rnrRetry
    this.#retirement.retire(qp)
    this.run(qp)
  }

  #retry(qp: QueuePair): void {
    if (qp.retriesLeft === 0) {
      this.#retirement.fail(qp, WC_STATUS.RETRY_EXC_ERR)
      return
    }
    qp.retriesLeft--
    this.#rewind(qp)
    this.run(qp)
  }

  #rewind(qp: QueuePair): void {
    const slots = qp.slots
    for (let p = slots.oldest; p !== slots.next; p = (p + 1) | 0) {
      if (slots.progress[slots.slot(p)] === UNDER_WAY) slots.progress[slots.slot(p)] = WAITING
    }
    slots.next = slots.oldest
    qp.readsInFlight = 0
  }

  /** Sets the deadline for the next answer; one event per queue pair is enough, it sets itself again. */
  #expectAnswer(qp: QueuePair, isRenewed = true): void {
    const loop = this.#engine.loop
    if (isRenewed) qp.ackDeadlinePs = loop.nowPs + ackTimeoutPs(qp.timeout)
    if (qp.isAckTimerDue || qp.ackDeadlinePs === Infinity) return
    qp.isAckTimerDue = true
    loop.at(qp.ackDeadlinePs, EVENT.ACK_TIMER, qp.index, 0, qp.epoch)
  }
}
