/**
 * A reliable-connected queue pair: its attributes, its poster's queues, and what the NIC keeps of it. Changed by
 * the fabric's requester and responder only; the poster sees state(), postSend() and postReceive().
 */
import { NO_RECORD } from '../../ring/layout.ts'
import type { CompletionQueue } from './completion-queue.ts'
import type { Device } from './device.ts'
import { PostingQueue } from './posting-queue.ts'
import type { ProtectionDomain } from './registration.ts'
import { ResponderState } from './responder-state.ts'
import { SendSlots } from './send-slots.ts'
import { EINVAL, ENOMEM, QP_STATE, SEND_FLAG, VERBS_OK, WR_OPCODE } from './verbs.ts'
import {
  INLINE_CAPACITY,
  RECV_WORDS,
  type ReceiveRequest,
  SEND_WORDS,
  type SendRequest,
} from './work-request.ts'

export interface QpCapacities {
  readonly maxSendWr: number
  readonly maxRecvWr: number
  readonly maxInlineData?: number
  /** Every request is signalled, whatever its flags. */
  readonly areAllSignalled?: boolean
}

export class QueuePair {
  readonly number: number
  readonly index: number
  readonly device: Device
  readonly pd: ProtectionDomain
  readonly sendCq: CompletionQueue
  readonly recvCq: CompletionQueue
  readonly capacities: Required<QpCapacities>
  readonly sender: PostingQueue
  readonly receiver: PostingQueue
  readonly slots: SendSlots
  readonly responder: ResponderState
  readonly requestFlow: number
  readonly responseFlow: number
  /** Counts the ways out of service (error, reset): what was under way before one is not of now. */
  epoch = 0
  state: number = QP_STATE.RESET
  accessFlags = 0
  destDevice = 0
  destQpn = 0
  sl = 0
  pathMtu = 4096
  timeout = 0
  retryCount = 0
  rnrRetry = 0
  maxRdAtomic = 0
  maxDestRdAtomic = 0
  minRnrTimer = 0
  isSqdNotified = false

  // The requester's state.
  sqPsn = 0
  readsInFlight = 0
  retriesLeft = 0
  rnrRetriesLeft = 0
  isRnrWaiting = false
  /** The queue may start its next request from here on; and when an event will try (Infinity: none is due). */
  issueFreePs = 0
  startDuePs = Infinity
  ackDeadlinePs = Infinity
  isAckTimerDue = false
  lastArrivalPs = 0
  /** The poster's doorbell, so that a full batch costs one event. */
  readonly #ring: (qp: QueuePair) => void

  constructor(
    number: number,
    index: number,
    device: Device,
    queues: { pd: ProtectionDomain; sendCq: CompletionQueue; recvCq: CompletionQueue },
    capacities: QpCapacities,
    ring: (qp: QueuePair) => void,
  ) {
    this.number = number
    this.index = index
    this.device = device
    this.pd = queues.pd
    this.sendCq = queues.sendCq
    this.recvCq = queues.recvCq
    this.capacities = { maxInlineData: 220, areAllSignalled: false, ...capacities }
    this.sender = new PostingQueue(capacities.maxSendWr, SEND_WORDS)
    this.receiver = new PostingQueue(capacities.maxRecvWr, RECV_WORDS)
    this.slots = new SendSlots(capacities.maxSendWr)
    this.responder = new ResponderState(capacities.maxSendWr, capacities.maxRecvWr)
    this.requestFlow = device.port.addFlow(device.model.burstBytes, false)
    // Answers wait behind all that has been asked for on their lane: the worst case, see README.md.
    this.responseFlow = device.port.addFlow(Infinity, true)
    this.sendCq.attach(number, this.sender, null)
    this.recvCq.attach(number, null, this.receiver)
    this.#ring = ring
  }

  /** ibv_post_send: 0, EINVAL, or ENOMEM when no slot is free. */
  postSend(request: SendRequest): number {
    if (this.state !== QP_STATE.RTS && this.state !== QP_STATE.SQD && this.state !== QP_STATE.ERR)
      return EINVAL
    const isInline = (request.flags & SEND_FLAG.INLINE) !== 0
    if (isInline !== (request.inlineBytes !== null)) return EINVAL
    if (isInline) {
      if (request.opcode > WR_OPCODE.SEND_WITH_IMM) return EINVAL
      if (request.inlineBytes!.length > Math.min(this.capacities.maxInlineData, INLINE_CAPACITY))
        return ENOMEM
    }
    const at = this.sender.tryClaim()
    if (at === NO_RECORD) return ENOMEM
    request.write(this.sender.words, at)
    this.sender.commit()
    this.#ring(this)
    return VERBS_OK
  }

  /** ibv_post_recv: 0, EINVAL in RESET, or ENOMEM when no slot is free. */
  postReceive(request: ReceiveRequest): number {
    if (this.state === QP_STATE.RESET) return EINVAL
    const at = this.receiver.tryClaim()
    if (at === NO_RECORD) return ENOMEM
    request.write(this.receiver.words, at)
    this.receiver.commit()
    if (this.state === QP_STATE.ERR) this.#ring(this)
    return VERBS_OK
  }

  isSignalled(position: number): boolean {
    return this.capacities.areAllSignalled || this.slots.hasFlag(position, SEND_FLAG.SIGNALED)
  }

  /** Serves incoming requests. */
  get canReceive(): boolean {
    return this.state === QP_STATE.RTR || this.state === QP_STATE.RTS || this.state === QP_STATE.SQD
  }
}
