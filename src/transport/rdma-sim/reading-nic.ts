/**
 * One lane's view of the two NICs, driven by the host's clock: the image registered at the source's, a buffer at the
 * destination's, one connected queue pair. Owned by the channel's thread; the source's processor takes no part.
 */
import type { Clock } from '../../clock.ts'
import { assert } from '../../errors.ts'
import { MAP, PROT } from '../../native/abi.ts'
import { check, libc, viewOf } from '../../native/libc.ts'
import type { Lane } from '../transport.ts'
import type { CompletionQueue } from './completion-queue.ts'
import { connectQueuePairs } from './connect.ts'
import { Fabric } from './fabric.ts'
import { HandlingLead } from './handling-lead.ts'
import { nicPreset } from './nic-presets.ts'
import type { QueuePair } from './queue-pair.ts'
import type { ProtectionDomain, Registration } from './registration.ts'
import type { SharedPort } from './shared-port.ts'
import { ACCESS, SEND_FLAG, VERBS_OK, WC_STATUS, WR_OPCODE } from './verbs.ts'
import { SendRequest, WorkCompletion } from './work-request.ts'

/** Service levels, each on the virtual lane of its number; the demand lane's has the high priority. */
const SERVICE_LEVEL = { prefault: 0, demand: 1 } as const
/** The image is registered in parts that start so far apart, each as much longer as a read can be. */
const PART_BYTES = 2 ** 30
const NONE = -1
const CACHE_LINE_WORDS = 16

export interface ReadingNicOptions {
  readonly lane: Lane
  readonly nic: string
  readonly dilation: number
  readonly port: SharedPort
  readonly clock: Clock
  /** The image as it is mapped here. */
  readonly image: { readonly address: number; readonly bytes: number }
  readonly slots: number
  readonly slotBytes: number
}

export class ReadingNic {
  /** Of the buffer: one slot after the other. */
  readonly address: number
  readonly words: Int32Array
  /** Of the read whose slot takeCompletion() gave last: the model's part, all of it, and what is more than modelled. */
  nicNs = 0
  hostNs = 0
  lateNs = 0
  readonly #o: ReadingNicOptions
  readonly #fabric = new Fabric()
  readonly #originNs: number
  readonly #lead = new HandlingLead()
  readonly #qp: QueuePair
  readonly #cq: CompletionQueue
  readonly #local: Registration
  readonly #parts: readonly Registration[]
  /** The same memory as words; null where nobody waits for single reads. */
  readonly #partWords: readonly Int32Array[] | null
  /** Written only so that the loads before it are not left out. */
  readonly #touched = new Int32Array(1)
  readonly #request = new SendRequest()
  readonly #completion = new WorkCompletion()
  /** When each slot's read was posted, on the host's clock. */
  readonly #postedNs: Float64Array
  readonly #bufferBytes: number

  constructor(options: ReadingNicOptions) {
    this.#o = options
    const { lane, port, slots, slotBytes, image, dilation } = options
    this.#originNs = options.clock.nowNs()
    this.#postedNs = new Float64Array(slots)
    this.#bufferBytes = slots * slotBytes
    const { figures } = nicPreset(options.nic)
    const here = this.#fabric.addDevice(figures)
    const there = this.#fabric.addDevice(figures, { sharedWire: port })
    port.setTime({ originNs: this.#originNs, dilation }, there.model.wirePs(there.model.mtu))
    const make = (device: typeof here): [QueuePair, CompletionQueue, ProtectionDomain] => {
      const pd = device.allocatePd()
      const cq = device.createCq(slots)
      return [device.createQp({ pd, sendCq: cq, recvCq: cq }, { maxSendWr: slots, maxRecvWr: 1 }), cq, pd]
    }
    const [qp, cq, pd] = make(here)
    const [target, , targetPd] = make(there)
    this.#qp = qp
    this.#cq = cq
    // The switch loses nothing, so no timer has anything to find.
    connectQueuePairs(qp, target, { sl: SERVICE_LEVEL[lane], timeout: 0 })
    const flags = MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE
    const prot = PROT.READ | PROT.WRITE
    this.address = check(libc().mmap(0, this.#bufferBytes, prot, flags, -1, 0), 'mmap', 'receive buffers')
    const buffer = viewOf(this.address, this.#bufferBytes)
    this.words = new Int32Array(buffer)
    this.#local = here.registerMemory(pd, new Uint8Array(buffer), ACCESS.LOCAL_WRITE)
    const parts: Registration[] = []
    for (let at = 0; at < image.bytes; at += PART_BYTES) {
      const bytes = Math.min(PART_BYTES + slotBytes, image.bytes - at)
      const part = new Uint8Array(viewOf(image.address + at, bytes))
      parts.push(there.registerMemory(targetPd, part, ACCESS.REMOTE_READ))
    }
    this.#parts = parts
    this.#partWords =
      lane === 'demand'
        ? parts.map(({ bytes }) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4))
        : null
    this.#request.opcode = WR_OPCODE.RDMA_READ
    this.#request.flags = SEND_FLAG.SIGNALED
    this.#request.lkey = this.#local.key
  }

  /** Posts a READ of the image into a free slot. */
  post(slot: number, imageOffset: number, bytes: number): void {
    const nowNs = this.#o.clock.nowNs()
    this.#fabric.advanceTo(this.#modelPs(nowNs))
    const part = this.#parts[Math.floor(imageOffset / PART_BYTES)]!
    const request = this.#request
    request.id = slot
    request.address = this.#local.address + slot * this.#o.slotBytes
    request.length = bytes
    request.remoteAddress = part.address + (imageOffset % PART_BYTES)
    request.rkey = part.key
    this.#postedNs[slot] = nowNs
    assert(this.#qp.postSend(request) === VERBS_OK, 'the send queue took no request')
    if (this.#partWords !== null) this.#touch(this.#partWords, imageOffset, bytes)
  }

  /** Brings the bytes into the cache while the model lets them travel, so that the copy at their arrival is short. */
  #touch(partWords: readonly Int32Array[], imageOffset: number, bytes: number): void {
    const words = partWords[Math.floor(imageOffset / PART_BYTES)]!
    const first = (imageOffset % PART_BYTES) / 4
    let touched = 0
    for (let i = first; i < first + bytes / 4; i += CACHE_LINE_WORDS) touched |= words[i]!
    this.#touched[0] = touched
  }

  /** Handles what is due by now, and by the time it takes to handle it, at most `eventsMax` events of each. */
  advance(nowNs: number, eventsMax: number): void {
    this.#fabric.advanceTo(this.#modelPs(nowNs), eventsMax)
    this.#fabric.loop.handleAhead(this.#modelPs(nowNs + this.#lead.ns), eventsMax)
  }

  #modelPs(hostNs: number): number {
    return Math.floor(((hostNs - this.#originNs) * 1000) / this.#o.dilation)
  }

  /** Slot of the oldest READ that has ended; −1 when there is none. */
  takeCompletion(): number {
    const completion = this.#completion
    if (this.#cq.poll(completion) !== 1) return NONE
    assert(completion.status === WC_STATUS.SUCCESS, `a READ ended with status ${completion.status}`)
    this.nicNs = completion.nicNs
    this.hostNs = this.#o.clock.nowNs() - this.#postedNs[completion.id]!
    this.lateNs = this.hostNs - completion.nicNs * this.#o.dilation
    this.#lead.onDelivered(this.lateNs)
    return completion.id
  }

  close(): void {
    libc().munmap(this.address, this.#bufferBytes)
  }
}
