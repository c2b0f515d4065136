/**
 * An emulated NIC: its keys, its port, its shared engine, and the verbs that make things. What belongs to one
 * device is reached through it; how devices talk is the fabric's part.
 */
import { FaultlaneError } from '../../errors.ts'
import { allocateCompletionRing, CompletionQueue } from './completion-queue.ts'
import { EgressPort, type PortSink, type SharedWire } from './egress-port.ts'
import { EVENT } from './engine.ts'
import type { EventLoop } from './event-loop.ts'
import type { NicFigures } from './nic-figures.ts'
import { NicModel } from './nic-model.ts'
import type { QpAttributes } from './qp-attributes.ts'
import type { QpCapacities, QueuePair } from './queue-pair.ts'
import { type ProtectionDomain, type Registration, RegistrationTable } from './registration.ts'
import { LATENCY_LANE, type VlArbitration } from './vl-arbiter.ts'
import { INLINE_CAPACITY } from './work-request.ts'

/** What ConnectX answers for max_qp_rd_atom. */
export const RD_ATOMIC_MAX = 16
const WORK_REQUESTS_MAX = 16384
const ASYNC_EVENTS_MAX = 1024
/** Service level n on lane n, as far as there are lanes with weight by default; the others on lane 0. */
const SL_TO_VL = [0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]

export interface DeviceOptions {
  readonly arbitration?: VlArbitration
  /** Lane of each of the 16 service levels. */
  readonly slToVl?: readonly number[]
  /** Switches on the way to the other NICs. Default: 0, back to back. */
  readonly switchHops?: number
  /** The wire behind the port when this device is one of several views of a NIC, each in a fabric of its own. */
  readonly sharedWire?: SharedWire
}

export interface AsyncEvent {
  readonly event: number
  /** 0: the event is of a completion queue. */
  readonly qpNumber: number
}

/** What a device needs of the fabric it is plugged into. */
export interface DeviceHome {
  readonly loop: EventLoop
  createQueuePair(
    device: Device,
    queues: { pd: ProtectionDomain; sendCq: CompletionQueue; recvCq: CompletionQueue },
    capacities: QpCapacities,
  ): QueuePair
  modifyQueuePair(qp: QueuePair, attributes: QpAttributes, mask: number): number
  destroyQueuePair(qp: QueuePair): void
  onRequestSent(qp: QueuePair, token: number, extraPs: number): void
  onAnswerSent(qp: QueuePair, extraPs: number): void
}

export class Device implements PortSink {
  /** Its address in the fabric. */
  readonly number: number
  readonly model: NicModel
  readonly port: EgressPort
  readonly registrations = new RegistrationTable()
  readonly #home: DeviceHome
  readonly #slToVl: readonly number[]
  readonly #queuePairs: QueuePair[] = []
  readonly #events: AsyncEvent[] = []
  #pdNext = 1
  #engineFreePs = 0

  constructor(home: DeviceHome, number: number, figures: NicFigures, options: DeviceOptions = {}) {
    this.number = number
    this.model = new NicModel(figures, options.switchHops)
    const event = { port: number, eligible: EVENT.ELIGIBLE, wireFree: EVENT.WIRE_FREE }
    const { arbitration = LATENCY_LANE, sharedWire = null } = options
    this.port = new EgressPort(home.loop, this.model, arbitration, this, event, sharedWire)
    this.#home = home
    this.#slToVl = options.slToVl ?? SL_TO_VL
  }

  allocatePd(): ProtectionDomain {
    return { number: this.#pdNext++ }
  }

  /** @param access flags of ACCESS; @param address what requests call the first byte, by default a free range */
  registerMemory(pd: ProtectionDomain, bytes: Uint8Array, access: number, address?: number): Registration {
    return this.registrations.registerMemory(pd, bytes, access, address)
  }

  /** @param entries at least so many */
  createCq(entries: number): CompletionQueue {
    return new CompletionQueue(allocateCompletionRing(entries))
  }

  createQp(
    queues: { pd: ProtectionDomain; sendCq: CompletionQueue; recvCq: CompletionQueue },
    capacities: QpCapacities,
  ): QueuePair {
    for (const name of ['maxSendWr', 'maxRecvWr'] as const) {
      const wanted = capacities[name]
      if (!Number.isInteger(wanted) || wanted < 1 || wanted > WORK_REQUESTS_MAX)
        refuse(name, wanted, `1 to ${WORK_REQUESTS_MAX}`)
    }
    const inline = capacities.maxInlineData ?? 0
    if (!(inline >= 0 && inline <= INLINE_CAPACITY))
      refuse('maxInlineData', inline, `0 to ${INLINE_CAPACITY}`)
    const qp = this.#home.createQueuePair(this, queues, capacities)
    this.#queuePairs.push(qp)
    return qp
  }

  /** ibv_modify_qp: 0, or EINVAL and nothing has changed. */
  modifyQp(qp: QueuePair, attributes: QpAttributes, mask: number): number {
    return this.#home.modifyQueuePair(qp, attributes, mask)
  }

  /** Ends it in every state, without completions; more than once is fine. */
  destroyQp(qp: QueuePair): void {
    this.#home.destroyQueuePair(qp)
  }

  /** ibv_get_async_event, without waiting. */
  takeAsyncEvent(): AsyncEvent | undefined {
    return this.#events.shift()
  }

  addAsyncEvent(event: number, qpNumber: number): void {
    if (this.#events.length < ASYNC_EVENTS_MAX) this.#events.push({ event, qpNumber })
  }

  laneOf(sl: number): number {
    return this.#slToVl[sl] ?? 0
  }

  /** A message goes through the engine that all queue pairs share: when it comes out. */
  useEngine(arrivalPs: number): number {
    this.#engineFreePs = Math.max(arrivalPs, this.#engineFreePs) + this.model.enginePs
    return this.#engineFreePs
  }

  /** Each queue pair has two flows, one after the other: its requests and its answers. */
  onSent(flow: number, token: number, extraPs: number): void {
    const qp = this.#queuePairs[flow >> 1]!
    if ((flow & 1) === 0) this.#home.onRequestSent(qp, token, extraPs)
    else this.#home.onAnswerSent(qp, extraPs)
  }
}

function refuse(what: string, got: number, expected: string): never {
  throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got: String(got), expected })
}
