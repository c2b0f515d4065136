/**
 * Emulated NICs and the lossless switch between them, in one event loop. Everything happens in the thread that
 * steps the loop; posters and pollers in other threads meet it in the rings of queue pairs and completion queues.
 *
 * The seam between model and time: the model only ever schedules "this happens at t" in `loop`. Virtual time is
 * loop.step() until something has happened. Real time is, in a spinning poller,
 *     fabric.advanceTo(clock ns × 1000 / dilation)
 * An event that is handled late still has its own time, so the modelled ns of a completion never contain the
 * poller's lateness.
 */
import type { CompletionQueue } from './completion-queue.ts'
import { Device, type DeviceHome, type DeviceOptions, RD_ATOMIC_MAX } from './device.ts'
import { type Engine, EVENT } from './engine.ts'
import { EventLoop, type EventSink } from './event-loop.ts'
import type { NicFigures } from './nic-figures.ts'
import { nextState, type QpAttributes } from './qp-attributes.ts'
import { type QpCapacities, QueuePair } from './queue-pair.ts'
import type { ProtectionDomain } from './registration.ts'
import { Requester } from './requester.ts'
import { Responder } from './responder.ts'
import { Retirement } from './retirement.ts'
import { ASYNC_EVENT, EINVAL, QP_ATTR, QP_STATE, VERBS_OK, WC_OPCODE, WR_OPCODE } from './verbs.ts'
import { WorkLosses } from './work-losses.ts'
import { SEND } from './work-request.ts'

const QP_NUMBER_FIRST = 0x40

const WC_OF_WR: readonly number[] = (() => {
  const table: number[] = []
  table[WR_OPCODE.RDMA_WRITE] = WC_OPCODE.RDMA_WRITE
  table[WR_OPCODE.RDMA_WRITE_WITH_IMM] = WC_OPCODE.RDMA_WRITE
  table[WR_OPCODE.SEND] = WC_OPCODE.SEND
  table[WR_OPCODE.SEND_WITH_IMM] = WC_OPCODE.SEND
  table[WR_OPCODE.RDMA_READ] = WC_OPCODE.RDMA_READ
  table[WR_OPCODE.ATOMIC_CMP_AND_SWP] = WC_OPCODE.COMP_SWAP
  table[WR_OPCODE.ATOMIC_FETCH_AND_ADD] = WC_OPCODE.FETCH_ADD
  table[WR_OPCODE.LOCAL_INV] = WC_OPCODE.LOCAL_INV
  table[WR_OPCODE.BIND_MW] = WC_OPCODE.BIND_MW
  return table
})()

export class Fabric implements Engine, EventSink, DeviceHome {
  readonly loop = new EventLoop(this)
  readonly losses = new WorkLosses()
  readonly #devices: Device[] = []
  /** By index; null once destroyed, and its number is not given again. */
  readonly #queuePairs: (QueuePair | null)[] = []
  readonly #retirement = new Retirement(this)
  readonly #requester = new Requester(this, this.#retirement)
  readonly #responder = new Responder(this)

  addDevice(figures: NicFigures, options?: DeviceOptions): Device {
    const device = new Device(this, this.#devices.length, figures, options)
    this.#devices.push(device)
    return device
  }

  /** Virtual time: the next event; false when nothing is under way. */
  step(): boolean {
    return this.loop.step()
  }

  /** Real time: all that is due. Also takes up requests that other threads have posted. Returns how much was done. */
  advanceTo(timePs: number, eventsMax?: number): number {
    const handled = this.loop.advanceTo(timePs, eventsMax)
    for (const qp of this.#queuePairs) if (qp?.sender.hasPosted) this.#requester.onDoorbell(qp)
    return handled
  }

  onEvent(kind: number, a: number, b: number, c: number, d: number): void {
    // Of a port: a is its device, b the flow.
    if (kind === EVENT.WIRE_FREE) {
      this.#devices[a]!.port.onWireFree()
      return
    }
    if (kind === EVENT.ELIGIBLE) {
      this.#devices[a]!.port.onEligible(b)
      return
    }
    // Of a queue pair: a is its index, b a position or number in it, c the epoch it was scheduled in.
    const qp = this.#queuePairs[a]!
    if (qp === null || qp.epoch !== c) return
    switch (kind) {
      case EVENT.START:
        this.#requester.onStart(qp)
        break
      case EVENT.REQUEST:
        this.#responder.onRequest(qp, b)
        break
      case EVENT.PLACE:
        this.#responder.onPlace(qp, b)
        break
      case EVENT.ATOMIC:
        this.#responder.onAtomic(qp, b)
        break
      case EVENT.ACK_TIMER:
        this.#requester.onAckTimer(qp)
        break
      case EVENT.RNR_TIMER:
        this.#requester.onRnrTimer(qp)
        break
      case EVENT.ACK:
        this.#requester.onAck(qp, b)
        break
      case EVENT.READ_DONE:
        this.#requester.onReadDone(qp, b)
        break
      case EVENT.ATOMIC_DONE:
        this.#requester.onAtomicDone(qp, b)
        break
      case EVENT.NAK:
        this.#requester.onNak(qp, b, d)
        break
      case EVENT.RNR:
        this.#requester.onReceiverNotReady(qp, b, d)
        break
      case EVENT.OUT_OF_SEQUENCE:
        this.#requester.onOutOfSequence(qp)
        break
    }
  }

  peerOf(qp: QueuePair): QueuePair | null {
    const peer = this.#queuePairs[qp.destQpn - QP_NUMBER_FIRST]
    return peer != null && peer.device.number === qp.destDevice ? peer : null
  }

  onRequestSent(qp: QueuePair, token: number, extraPs: number): void {
    this.#requester.onSent(qp, token, extraPs)
  }

  onAnswerSent(qp: QueuePair, extraPs: number): void {
    this.#responder.onSent(qp, extraPs)
  }

  completeSend(qp: QueuePair, position: number, status: number): void {
    const { slots } = qp
    const nicNs = Math.floor((this.loop.nowPs - slots.postedPs[slots.slot(position)]!) / 1000)
    const opcode = WC_OF_WR[slots.opcode(position)] ?? WC_OPCODE.SEND
    const id = slots.wide(position, SEND.ID)
    const bytes = slots.length(position)
    this.#add(qp, qp.sendCq, id, status, opcode, bytes, 0, position, false, nicNs)
  }

  completeReceive(
    qp: QueuePair,
    receive: { id: number; position: number; status: number; bytes: number; fromPs: number },
    opcode: number,
    immediate: number,
  ): void {
    const nicNs = Math.floor((this.loop.nowPs - receive.fromPs) / 1000)
    const { id, status, bytes, position } = receive
    this.#add(qp, qp.recvCq, id, status, opcode, bytes, immediate, position, true, nicNs)
  }

  enterError(qp: QueuePair): void {
    if (qp.state === QP_STATE.ERR || qp.state === QP_STATE.RESET) return
    this.#leaveService(qp)
    qp.state = QP_STATE.ERR
    this.#retirement.flush(qp)
    this.#responder.flush(qp)
  }

  raise(qp: QueuePair, event: number): void {
    qp.device.addAsyncEvent(event, qp.number)
  }

  createQueuePair(
    device: Device,
    queues: { pd: ProtectionDomain; sendCq: CompletionQueue; recvCq: CompletionQueue },
    capacities: QpCapacities,
  ): QueuePair {
    const index = this.#queuePairs.length
    const ring = (posted: QueuePair): void => {
      this.#requester.onDoorbell(posted)
      if (posted.state === QP_STATE.ERR) this.#responder.flush(posted)
    }
    const qp = new QueuePair(QP_NUMBER_FIRST + index, index, device, queues, capacities, ring)
    this.#queuePairs.push(qp)
    return qp
  }

  modifyQueuePair(qp: QueuePair, attributes: QpAttributes, mask: number): number {
    const to = nextState(qp.state, attributes, mask, RD_ATOMIC_MAX)
    if (to < 0 || !this.#isReachable(qp, attributes, mask)) return EINVAL
    if (to === QP_STATE.ERR) {
      qp.responder.voidAnswers()
      this.enterError(qp)
      return VERBS_OK
    }
    if (to === QP_STATE.RESET) this.#reset(qp)
    this.#apply(qp, attributes, mask)
    const isResumed = qp.state === QP_STATE.SQD && to === QP_STATE.RTS
    const isDraining = qp.state === QP_STATE.RTS && to === QP_STATE.SQD
    qp.state = to
    if (isResumed) this.#requester.run(qp)
    if (isDraining) this.#retirement.drain(qp)
    return VERBS_OK
  }

  destroyQueuePair(qp: QueuePair): void {
    if (this.#queuePairs[qp.index] !== qp) return
    this.#reset(qp)
    qp.state = QP_STATE.RESET
    qp.sendCq.detach(qp.number)
    qp.recvCq.detach(qp.number)
    this.#queuePairs[qp.index] = null
  }

  /** There is such a device, and the lane of the service level has weight at both ends. */
  #isReachable(qp: QueuePair, attributes: QpAttributes, mask: number): boolean {
    if ((mask & QP_ATTR.AV) === 0) return true
    const there = this.#devices[attributes.av!.device]
    const { sl } = attributes.av!
    return [qp.device, there].every((device) => device?.port.serves(device.laneOf(sl)) ?? false)
  }

  #apply(qp: QueuePair, a: QpAttributes, mask: number): void {
    const has = (bit: number): boolean => (mask & bit) !== 0
    if (has(QP_ATTR.ACCESS_FLAGS)) qp.accessFlags = a.accessFlags!
    if (has(QP_ATTR.PATH_MTU)) qp.pathMtu = a.pathMtu!
    if (has(QP_ATTR.DEST_QPN)) qp.destQpn = a.destQpn!
    if (has(QP_ATTR.TIMEOUT)) qp.timeout = a.timeout!
    if (has(QP_ATTR.RETRY_CNT)) qp.retriesLeft = qp.retryCount = a.retryCount!
    if (has(QP_ATTR.RNR_RETRY)) qp.rnrRetriesLeft = qp.rnrRetry = a.rnrRetry!
    if (has(QP_ATTR.RQ_PSN)) qp.responder.expectedPsn = a.rqPsn!
    if (has(QP_ATTR.SQ_PSN)) qp.sqPsn = a.sqPsn!
    if (has(QP_ATTR.MIN_RNR_TIMER)) qp.minRnrTimer = a.minRnrTimer!
    if (has(QP_ATTR.MAX_QP_RD_ATOMIC)) qp.maxRdAtomic = a.maxRdAtomic!
    if (has(QP_ATTR.EN_SQD_ASYNC_NOTIFY)) qp.isSqdNotified = a.isSqdNotified ?? false
    if (has(QP_ATTR.MAX_DEST_RD_ATOMIC)) {
      qp.maxDestRdAtomic = a.maxDestRdAtomic!
      qp.responder.setResources(qp.maxDestRdAtomic)
    }
    if (has(QP_ATTR.AV)) {
      qp.destDevice = a.av!.device
      qp.sl = a.av!.sl
    }
    if (has(QP_ATTR.AV | QP_ATTR.PATH_MTU))
      qp.device.port.setLane(qp.requestFlow, qp.device.laneOf(qp.sl), qp.pathMtu)
  }

  #reset(qp: QueuePair): void {
    this.#leaveService(qp)
    qp.slots.reset()
    qp.sender.reset()
    qp.receiver.reset()
    qp.responder.reset()
    qp.destQpn = 0
    qp.accessFlags = 0
  }

  /** Stores what has been accepted in both directions, then forgets all that is under way. */
  #leaveService(qp: QueuePair): void {
    this.#responder.settle(qp)
    const peer = this.peerOf(qp)
    if (peer !== null && this.peerOf(peer) === qp) this.#responder.settle(peer)
    qp.epoch = (qp.epoch + 1) & 0xfffff
    this.#requester.reset(qp)
  }

  #add(
    qp: QueuePair,
    cq: CompletionQueue,
    id: number,
    status: number,
    opcode: number,
    bytes: number,
    immediate: number,
    position: number,
    isReceive: boolean,
    nicNs: number,
  ): void {
    if (cq.isBroken) return
    if (cq.add(id, status, opcode, bytes, immediate, qp.number, position, isReceive, nicNs)) return
    // Overrun: nothing that this queue was to tell can be told any more.
    qp.device.addAsyncEvent(ASYNC_EVENT.CQ_ERR, 0)
    for (const user of this.#queuePairs) {
      if (user === null || (user.sendCq !== cq && user.recvCq !== cq)) continue
      if (user.state === QP_STATE.ERR || user.state === QP_STATE.RESET) continue
      this.raise(user, ASYNC_EVENT.QP_FATAL)
      this.enterError(user)
    }
  }
}
