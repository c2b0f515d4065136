/**
 * The receiving half of every queue pair. Checks each request in the order of soft-RoCE's responder, which
 * decides the status that wins when several are deserved:
 *
 *   sequence → allowed by the queue pair → receive or rd_atomic at hand → length → remote key → carry out
 *
 * A repeated WRITE or SEND is acknowledged again and not carried out again; a repeated READ is answered again;
 * a repeated atomic is answered with the result it had. Owns QueuePair.responder.
 */

import { copyBytes } from './copy-bytes.ts'
import { type Engine, EVENT } from './engine.ts'
import { CONTROL_BYTES } from './nic-model.ts'
import type { QueuePair } from './queue-pair.ts'
import type { Registration } from './registration.ts'
import { accessFor, carryOutAtomic } from './remote-operations.ts'
import { TakenReceive } from './taken-receive.ts'
import { ACCESS, ASYNC_EVENT, PSN_MASK, psnDifference, WC_OPCODE, WC_STATUS, WR_OPCODE } from './verbs.ts'
import { SEND } from './work-request.ts'

const MESSAGE_BYTES_MAX = 2 ** 31

export class Responder {
  readonly #engine: Engine
  readonly #receive = new TakenReceive()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  onRequest(requester: QueuePair, position: number): void {
    const qp = this.#engine.peerOf(requester)
    if (qp === null || !qp.canReceive || this.#engine.peerOf(qp) !== requester) return
    const slots = requester.slots
    const gap = psnDifference(slots.psn[slots.slot(position)]!, qp.responder.expectedPsn)
    if (gap < 0) {
      this.#repeat(qp, requester, position)
      return
    }
    if (gap > 0) {
      // Said once; what follows the gap is dropped until the missing one comes.
      if (!qp.responder.isNakSent) this.#answer(qp, requester, position, EVENT.OUT_OF_SEQUENCE)
      qp.responder.isNakSent = true
      return
    }
    const opcode = slots.opcode(position)
    const access = accessFor(opcode)
    if ((qp.accessFlags & access) !== access) {
      this.#refuse(qp, requester, position, WC_STATUS.REM_INV_REQ_ERR)
      return
    }
    if (slots.isRead(position) && qp.responder.resources.length === 0) {
      this.#refuse(qp, requester, position, WC_STATUS.REM_INV_REQ_ERR)
      return
    }
    const needsReceive = slots.needsReceive(position)
    if (needsReceive && !this.#receive.take(qp, this.#engine.loop.nowPs)) {
      this.#answer(qp, requester, position, EVENT.RNR, qp.minRnrTimer)
      qp.responder.isNakSent = true
      return
    }
    const length = slots.length(position)
    const isSend = opcode === WR_OPCODE.SEND || opcode === WR_OPCODE.SEND_WITH_IMM
    if (length > MESSAGE_BYTES_MAX || (isSend && length > this.#receive.length)) {
      if (needsReceive) this.#failReceive(qp, WC_STATUS.LOC_LEN_ERR)
      this.#refuse(qp, requester, position, WC_STATUS.REM_INV_REQ_ERR)
      return
    }
    const address = isSend ? this.#receive.address : slots.wide(position, SEND.REMOTE)
    const key = isSend ? this.#receive.key : slots.word(position, SEND.REMOTE_KEY)
    const right = isSend ? ACCESS.LOCAL_WRITE : access
    const memory =
      length === 0 ? null : qp.device.registrations.open(key, qp.pd, address, length, right, qp.number)
    if (length > 0 && memory === null) {
      if (needsReceive) this.#failReceive(qp, isSend ? WC_STATUS.LOC_PROT_ERR : WC_STATUS.LOC_ACCESS_ERR)
      this.#refuse(qp, requester, position, isSend ? WC_STATUS.REM_OP_ERR : WC_STATUS.REM_ACCESS_ERR)
      return
    }
    if (slots.isAtomic(position) && address % 8 !== 0) {
      this.#refuse(qp, requester, position, WC_STATUS.REM_INV_REQ_ERR)
      return
    }
    qp.responder.isNakSent = false
    qp.responder.expectedPsn =
      (qp.responder.expectedPsn + slots.psnCount(position, requester.pathMtu)) & PSN_MASK
    const offset = memory === null ? 0 : memory.offset + (address - memory.address)
    if (slots.isRead(position)) this.#serve(qp, requester, position, memory, offset)
    else this.#accept(qp, requester, position, memory, offset)
  }

  /** An atomic's moment: among the atomics of this device, one after the other. */
  onAtomic(requester: QueuePair, position: number): void {
    const slots = requester.slots
    const slot = slots.slot(position)
    const memory = slots.source[slot]
    const resource = this.#engine.peerOf(requester)?.responder.findResource(slots.psn[slot]!)
    if (memory == null || resource == null) return
    carryOutAtomic(slots, position, memory, resource)
  }

  /** An accepted payload has reached memory; `number` and all before it. */
  onPlace(qp: QueuePair, number: number): void {
    while (((qp.responder.placementsDone - number) | 0) <= 0) this.#place(qp)
  }

  /** Stores what has been accepted at once: before one of the two ends forgets where it comes from or goes to. */
  settle(qp: QueuePair): void {
    while (qp.responder.placementsDone !== qp.responder.placementsQueued) this.#place(qp)
  }

  /** The last byte of an answer is on the wire. */
  onSent(qp: QueuePair, extraPs: number): void {
    const { loop, losses } = this.#engine
    const isVoid = qp.responder.isAnswerVoid
    const answer = qp.responder.takeAnswer()
    const requester = answer.requester!
    if (isVoid || losses.takeAnswer()) return
    const isRead = answer.kind === EVENT.READ_DONE
    const model = requester.device.model
    const tailPs = isRead ? model.tailPs(requester.slots.length(answer.position)) : 0
    const seenPs = loop.nowPs + qp.device.model.linkPs + extraPs + model.completePs + tailPs
    qp.responder.lastAnswerPs = Math.max(seenPs, qp.responder.lastAnswerPs, answer.notBeforePs)
    const isSpoilt = losses.takeSpoiltAnswer()
    const kind = isSpoilt ? EVENT.NAK : answer.kind
    const detail = isSpoilt ? WC_STATUS.BAD_RESP_ERR : answer.detail
    const timePs = qp.responder.lastAnswerPs
    loop.at(timePs, kind, requester.index, answer.position, answer.requesterEpoch, detail)
  }

  /** Receives that nobody will fill end with WR_FLUSH_ERR, in posted order. */
  flush(qp: QueuePair): void {
    while (this.#receive.take(qp, this.#engine.loop.nowPs)) this.#failReceive(qp, WC_STATUS.WR_FLUSH_ERR)
  }

  #repeat(qp: QueuePair, requester: QueuePair, position: number): void {
    const slots = requester.slots
    const slot = slots.slot(position)
    if (!slots.isRead(position)) {
      this.#answer(qp, requester, position, EVENT.ACK)
      return
    }
    const resource = qp.responder.findResource(slots.psn[slot]!)
    if (resource === null) return
    if (resource.isAtomic) {
      slots.original[2 * slot] = resource.low
      slots.original[2 * slot + 1] = resource.high
      this.#answer(qp, requester, position, EVENT.ATOMIC_DONE)
      return
    }
    this.#answerRead(qp, requester, position)
  }

  #serve(
    qp: QueuePair,
    requester: QueuePair,
    position: number,
    memory: Registration | null,
    offset: number,
  ): void {
    const slots = requester.slots
    const slot = slots.slot(position)
    const isAtomic = slots.isAtomic(position)
    qp.responder.takeResource(slots.psn[slot]!, isAtomic)
    slots.source[slot] = memory
    slots.sourceOffset[slot] = offset
    if (!isAtomic) {
      this.#answerRead(qp, requester, position)
      return
    }
    const model = qp.device.model
    const startPs = this.#startService(qp, model.atomicGapPs())
    this.#engine.loop.at(startPs, EVENT.ATOMIC, requester.index, position, requester.epoch)
    const readyPs = startPs + model.atomicFetchPs
    this.#answer(qp, requester, position, EVENT.ATOMIC_DONE, 0, readyPs)
  }

  #answerRead(qp: QueuePair, requester: QueuePair, position: number): void {
    const model = qp.device.model
    const length = requester.slots.length(position)
    const readyPs = this.#startService(qp, model.readGapPs(length)) + model.readFetchPs
    this.#answer(qp, requester, position, EVENT.READ_DONE, 0, readyPs, length)
  }

  /** READs and atomics are served one after the other, and after what was written before them. */
  #startService(qp: QueuePair, gapPs: number): number {
    const { responder } = qp
    const startPs = Math.max(this.#engine.loop.nowPs, responder.serviceFreePs, responder.placeFreePs)
    responder.serviceFreePs = startPs + gapPs
    return startPs
  }

  #accept(
    qp: QueuePair,
    requester: QueuePair,
    position: number,
    memory: Registration | null,
    offset: number,
  ): void {
    const { responder } = qp
    const model = qp.device.model
    const loop = this.#engine.loop
    const placement = responder.freePlacement()
    if (placement === null) return // As if lost: the requester comes again.
    const needsReceive = requester.slots.needsReceive(position)
    const length = requester.slots.length(position)
    const placePs = loop.nowPs + model.placePs + model.tailPs(length) + (needsReceive ? model.sendExtraPs : 0)
    responder.placeFreePs = Math.max(placePs, responder.placeFreePs)
    placement.requester = requester
    placement.position = position
    placement.target = memory
    placement.targetOffset = offset
    placement.length = length
    placement.isReceive = needsReceive
    placement.receiveId = this.#receive.id
    placement.receivePosition = this.#receive.position
    placement.arrivedPs = loop.nowPs
    loop.at(responder.placeFreePs, EVENT.PLACE, qp.index, responder.placementsQueued, qp.epoch)
    responder.placementsQueued = (responder.placementsQueued + 1) | 0
    this.#answer(qp, requester, position, EVENT.ACK, 0, loop.nowPs, 0, responder.placeFreePs)
  }

  #place(qp: QueuePair): void {
    const { responder } = qp
    const placement = responder.placement(responder.placementsDone)
    responder.placementsDone = (responder.placementsDone + 1) | 0
    const { position, target, targetOffset, length } = placement
    const requester = placement.requester!
    const slots = requester.slots
    if (target !== null) {
      const local = slots.local[slots.slot(position)]
      if (local == null)
        copyBytes(slots.bytes, 4 * (slots.at(position) + SEND.INLINE), target.bytes, targetOffset, length)
      else {
        const offset = local.offset + slots.localOffset[slots.slot(position)]!
        copyBytes(local.bytes, offset, target.bytes, targetOffset, length)
      }
    }
    if (!placement.isReceive) return
    const opcode = slots.opcode(position)
    this.#receive.id = placement.receiveId
    this.#receive.position = placement.receivePosition
    this.#receive.status = WC_STATUS.SUCCESS
    this.#receive.bytes = length
    this.#receive.fromPs = placement.arrivedPs
    const isWrite = opcode === WR_OPCODE.RDMA_WRITE_WITH_IMM
    const doneOpcode = isWrite ? WC_OPCODE.RECV_RDMA_WITH_IMM : WC_OPCODE.RECV
    this.#engine.completeReceive(qp, this.#receive, doneOpcode, slots.word(position, SEND.IMMEDIATE))
  }

  #failReceive(qp: QueuePair, status: number): void {
    const { id, position, fromPs } = this.#receive
    this.settle(qp) // Receives before it complete before it.
    this.#receive.id = id
    this.#receive.position = position
    this.#receive.status = status
    this.#receive.bytes = 0
    this.#receive.fromPs = fromPs
    this.#engine.completeReceive(qp, this.#receive, WC_OPCODE.RECV, 0)
  }

  /** The requester gets the error, this end goes to the error state too. */
  #refuse(qp: QueuePair, requester: QueuePair, position: number, status: number): void {
    this.#answer(qp, requester, position, EVENT.NAK, status)
    if (status === WC_STATUS.REM_INV_REQ_ERR) this.#engine.raise(qp, ASYNC_EVENT.QP_REQ_ERR)
    else if (status === WC_STATUS.REM_ACCESS_ERR) this.#engine.raise(qp, ASYNC_EVENT.QP_ACCESS_ERR)
    else this.#engine.raise(qp, ASYNC_EVENT.QP_FATAL)
    this.#engine.enterError(qp)
  }

  #answer(
    qp: QueuePair,
    requester: QueuePair,
    position: number,
    kind: number,
    detail = 0,
    readyPs = this.#engine.loop.nowPs,
    payloadBytes = 0,
    notBeforePs = 0,
  ): void {
    const answer = qp.responder.addAnswer()
    if (answer === null) return // As if lost: the requester comes again.
    answer.requester = requester
    answer.requesterEpoch = requester.epoch
    answer.position = position
    answer.kind = kind
    answer.detail = detail
    answer.notBeforePs = notBeforePs
    const { port } = qp.device
    // The request carries its service level, and the answer obeys it.
    port.setLane(qp.responseFlow, qp.device.laneOf(requester.sl), requester.pathMtu)
    const isPaced = payloadBytes > 0
    port.enqueue(qp.responseFlow, 0, isPaced ? payloadBytes : CONTROL_BYTES, readyPs, isPaced)
  }
}
