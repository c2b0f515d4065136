/**
 * The way out of a NIC: every packet that leaves it, request or response, passes here. Owned by one device.
 *
 * Within a virtual lane packets leave in the order in which they entered its FIFO. Each flow (one direction of a
 * queue pair) keeps at most its burst Q in there and refills it as its packets leave: so flows with much to send
 * alternate in bursts of Q, and who comes new waits for Q bytes of each, as NICs are measured to do. Between
 * lanes the arbiter chooses per packet, and a packet on the wire is never interrupted.
 *
 * Not modelled: link credits. The receiver stores at line rate, so none would ever run out.
 */
import { assert } from '../../errors.ts'
import { EgressFlow } from './egress-flow.ts'
import type { EventLoop } from './event-loop.ts'
import type { NicModel } from './nic-model.ts'
import { PacketFifo } from './packet-fifo.ts'
import { VL_COUNT, VlArbiter, type VlArbitration } from './vl-arbiter.ts'

export interface PortSink {
  /** The last byte of a message is on the wire. `extraPs`: what the shared engine delays it. */
  onSent(flow: number, token: number, extraPs: number): void
}

/** A wire that ports outside of this fabric send on, too. */
export interface SharedWire {
  /** Takes the wire for `wirePs` and returns when the packet begins: `nowPs` or later. */
  reserve(nowPs: number, wirePs: number): number
}

export class EgressPort {
  readonly #loop: EventLoop
  readonly #model: NicModel
  readonly #sink: PortSink
  readonly #arbiter: VlArbiter
  readonly #port: number
  readonly #wire: SharedWire | null
  readonly #eligibleKind: number
  readonly #wireKind: number
  readonly #lanes = Array.from({ length: VL_COUNT }, () => new PacketFifo())
  /** Bytes of each lane's first packet, 0 for none: what the arbiter chooses from. */
  readonly #headBytes = new Int32Array(VL_COUNT)
  readonly #flows: EgressFlow[] = []
  #bytesQueued = 0
  #sendingFlow = -1
  #sendingBytes = 0

  /** The kinds are the numbers of this port's two events in the loop; `port` comes back as their first integer. */
  constructor(
    loop: EventLoop,
    model: NicModel,
    arbitration: VlArbitration,
    sink: PortSink,
    event: { readonly port: number; readonly eligible: number; readonly wireFree: number },
    wire: SharedWire | null = null,
  ) {
    this.#loop = loop
    this.#model = model
    this.#arbiter = new VlArbiter(arbitration)
    this.#sink = sink
    this.#wire = wire
    this.#port = event.port
    this.#eligibleKind = event.eligible
    this.#wireKind = event.wireFree
  }

  /** @param burstBytes Infinity: everything that is ready stands in the FIFO */
  addFlow(burstBytes: number, isAnswers: boolean): number {
    this.#flows.push(new EgressFlow(burstBytes, isAnswers))
    return this.#flows.length - 1
  }

  /** A flow changes its lane only when it has nothing to send; `vl` is one that serves() says yes to. */
  setLane(flow: number, vl: number, mtu: number): void {
    const owner = this.#flows[flow]!
    if (!owner.isEmpty) return
    owner.vl = vl
    owner.mtu = mtu
  }

  /** False for a lane without weight in either table: it would never send. */
  serves(vl: number): boolean {
    return this.#arbiter.serves(vl)
  }

  isIdle(flow: number): boolean {
    return this.#flows[flow]!.isEmpty
  }

  /** @param isPaced the payload comes over PCIe from `readyPs` on; else all of it is there at `readyPs` */
  enqueue(flow: number, token: number, bytes: number, readyPs: number, isPaced: boolean): void {
    this.#flows[flow]!.add(token, Math.max(1, bytes), readyPs, isPaced)
    this.#admit(flow)
    this.#sendNext()
  }

  onEligible(flow: number): void {
    this.#flows[flow]!.isWaiting = false
    this.#admit(flow)
    this.#sendNext()
  }

  onWireFree(): void {
    const index = this.#sendingFlow
    const flow = this.#flows[index]!
    const bytes = this.#sendingBytes
    flow.inFifo -= bytes
    this.#bytesQueued -= bytes
    this.#sendingFlow = -1
    flow.sendOffset += bytes
    if (flow.sendOffset === flow.bytesOf(flow.send)) {
      const token = flow.tokenOf(flow.send)
      const extraPs = flow.extraPsOf(flow.send)
      flow.send++
      flow.sendOffset = 0
      this.#sink.onSent(index, token, extraPs)
    }
    this.#admit(index)
    this.#sendNext()
  }

  /** Lets packets of the flow into the FIFO while its burst has room and their bytes have been read. */
  #admit(index: number): void {
    const flow = this.#flows[index]!
    while (flow.hasMoreToAdmit) {
      const message = flow.admit
      const bytes = flow.bytesOf(message)
      const packet = Math.min(flow.mtu, bytes - flow.admitOffset)
      if (flow.inFifo > 0 && flow.inFifo + packet > flow.burstBytes) return
      const eligiblePs = this.#eligiblePs(flow)
      if (eligiblePs > this.#loop.nowPs) {
        if (!flow.isWaiting) this.#loop.at(eligiblePs, this.#eligibleKind, this.#port, index)
        flow.isWaiting = true
        return
      }
      // Others stand before it, or are on the wire: the shared engine is not waiting for it.
      if (flow.admitOffset === 0 && this.#bytesQueued > flow.inFifo)
        flow.setExtraPs(message, this.#model.contentionPs)
      const lane = this.#lanes[flow.vl]!
      lane.push(index, packet)
      this.#headBytes[flow.vl] = lane.headBytes
      flow.inFifo += packet
      this.#bytesQueued += packet
      flow.admitOffset += packet
      if (flow.admitOffset === bytes) {
        flow.admit++
        flow.admitOffset = 0
      }
    }
  }

  /** A packet may go when the chunk in which it begins, and one more, have been read. */
  #eligiblePs(flow: EgressFlow): number {
    const readyPs = flow.readyPsOf(flow.admit)
    if (!flow.isPacedOf(flow.admit)) return readyPs
    const read = Math.min(flow.bytesOf(flow.admit), flow.admitOffset + this.#model.chunkBytes)
    return readyPs + this.#model.pcieReadPs(read)
  }

  #sendNext(): void {
    if (this.#sendingFlow >= 0 || this.#bytesQueued === 0) return
    const vl = this.#arbiter.pick(this.#headBytes)
    assert(vl >= 0, 'a packet waits on a lane that the arbiter does not serve')
    const lane = this.#lanes[vl]!
    this.#sendingFlow = lane.headFlow
    this.#sendingBytes = lane.headBytes
    lane.shift()
    this.#headBytes[vl] = lane.headBytes
    const { inFifo, isAnswers } = this.#flows[this.#sendingFlow]!
    const isShared = this.#bytesQueued > inFifo
    const wirePs = isShared
      ? this.#model.sharedWirePs(this.#sendingBytes, isAnswers)
      : this.#model.wirePs(this.#sendingBytes)
    const { nowPs } = this.#loop
    const startPs = this.#wire === null ? nowPs : this.#wire.reserve(nowPs, wirePs)
    this.#loop.at(startPs + wirePs, this.#wireKind, this.#port)
  }
}
