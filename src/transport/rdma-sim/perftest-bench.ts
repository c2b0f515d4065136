/**
 * Two emulated NICs with a connected pair of queue pairs for the operation that is measured, and the bulk streams
 * beside it. Owned by one run of perftest.ts, in virtual time.
 */
import { assert } from '../../errors.ts'
import type { CompletionQueue } from './completion-queue.ts'
import { connectQueuePairs } from './connect.ts'
import type { Device } from './device.ts'
import { Fabric } from './fabric.ts'
import type { NicFigures } from './nic-figures.ts'
import { INLINE_BYTES_MAX } from './nic-model.ts'
import type { QueuePair } from './queue-pair.ts'
import type { Registration } from './registration.ts'
import { ACCESS, SEND_FLAG, VERBS_OK, WC_STATUS, WR_OPCODE } from './verbs.ts'
import { ReceiveRequest, SendRequest, WorkCompletion } from './work-request.ts'

/** One side: its NIC, its queue pair, its memory. */
export interface Side {
  readonly device: Device
  readonly qp: QueuePair
  readonly sendCq: CompletionQueue
  readonly recvCq: CompletionQueue
  readonly memory: Registration
}

const ALL = ACCESS.LOCAL_WRITE | ACCESS.REMOTE_WRITE | ACCESS.REMOTE_READ | ACCESS.REMOTE_ATOMIC
/** The bulk streams of the published tables: 1 MB WRITEs; READs of 64 KiB, 16 in flight. */
export const BULK = {
  write: { opcode: WR_OPCODE.RDMA_WRITE, bytes: 1_000_000, depth: 4 },
  read: { opcode: WR_OPCODE.RDMA_READ, bytes: 65536, depth: 16 },
} as const
/** Service levels: bulk, and the measured operation when separated. */
const BULK_SL = 0
const PROBE_SL = 1
const BULK_ID = 1_000_000

export interface BesideOptions {
  readonly streams: number
  readonly kind: 'read' | 'write'
  readonly sl: 'separated' | 'shared' | 'same-qp'
}

export class PerftestBench {
  readonly fabric = new Fabric()
  readonly client: Side
  readonly server: Side
  bulkCompletions = 0
  /** When the last completion of a bulk stream came. */
  bulkLastPs = 0
  readonly #completion = new WorkCompletion()
  readonly #request = new SendRequest()
  readonly #receive = new ReceiveRequest()
  readonly #beside: BesideOptions
  readonly #bulkOffset: number
  readonly #streams: { from: Side; to: Side }[] = []

  constructor(figures: NicFigures, size: number, depth: number, beside: BesideOptions, switchHops = 0) {
    this.#beside = beside
    const bulk = BULK[beside.kind]
    const a = this.fabric.addDevice(figures, { switchHops })
    const b = this.fabric.addDevice(figures, { switchHops })
    // Bulk has its own bytes, also on the same queue pair: a mark must not travel with it.
    this.#bulkOffset = Math.max(size, 8)
    const bytes = this.#bulkOffset + (beside.streams > 0 ? bulk.bytes : 0)
    const isSameQp = beside.sl === 'same-qp'
    const slots = depth + (isSameQp ? bulk.depth * beside.streams : 0) + 1
    const sl = beside.streams > 0 && beside.sl === 'separated' ? PROBE_SL : BULK_SL
    const pair = makePair(a, b, bytes, slots, sl)
    this.client = pair.from
    this.server = pair.to
    for (let i = 0; i < beside.streams; i++)
      this.#streams.push(isSameQp ? pair : makePair(a, b, bytes, bulk.depth + 1, BULK_SL))
    for (const stream of this.#streams) for (let i = 0; i < bulk.depth; i++) this.#postBulk(stream)
    while (this.bulkCompletions < 2 * bulk.depth * beside.streams) {
      this.step()
      if (isSameQp) this.poll(this.client.sendCq)
    }
  }

  get bulkMessageBytes(): number {
    return BULK[this.#beside.kind].bytes
  }

  get nowPs(): number {
    return this.fabric.loop.nowPs
  }

  /** One event, and the bulk streams posted again where they completed. */
  step(): void {
    assert(this.fabric.step(), 'nothing is under way, and the run waits')
    if (this.#beside.sl !== 'same-qp') for (const stream of this.#streams) this.#pump(stream)
  }

  advanceBy(ps: number): void {
    const untilPs = this.nowPs + ps
    while (this.fabric.loop.nextPs() <= untilPs) this.step()
    this.fabric.loop.advanceTo(untilPs)
  }

  post(side: Side, opcode: number, size: number, id: number): void {
    const to = side === this.client ? this.server : this.client
    const isInline = size <= INLINE_BYTES_MAX && opcode !== WR_OPCODE.RDMA_READ && opcode <= WR_OPCODE.SEND
    this.#post(side, to, opcode, size, id, isInline)
  }

  postReceive(side: Side, size: number): void {
    this.#receive.address = side.memory.address
    this.#receive.length = size
    this.#receive.lkey = side.memory.key
    assert(side.qp.postReceive(this.#receive) === VERBS_OK, 'the receive queue took no request')
  }

  /** The id of the next completion of the measured operation; -1 when there is none now. */
  poll(cq: CompletionQueue): number {
    const completion = this.#completion
    while (cq.poll(completion) === 1) {
      assert(completion.status === WC_STATUS.SUCCESS, `a request ended with status ${completion.status}`)
      if (completion.id < BULK_ID) return completion.id
      this.#countBulk()
      this.#postBulk(this.#streams[0]!)
    }
    return -1
  }

  #pump(stream: { from: Side; to: Side }): void {
    while (stream.from.sendCq.poll(this.#completion) === 1) {
      assert(
        this.#completion.status === WC_STATUS.SUCCESS,
        `bulk ended with status ${this.#completion.status}`,
      )
      this.#countBulk()
      this.#postBulk(stream)
    }
  }

  #countBulk(): void {
    this.bulkCompletions++
    this.bulkLastPs = this.nowPs
  }

  #postBulk(stream: { from: Side; to: Side }): void {
    const { opcode, bytes } = BULK[this.#beside.kind]
    this.#post(stream.from, stream.to, opcode, bytes, BULK_ID, false, this.#bulkOffset)
  }

  #post(from: Side, to: Side, opcode: number, size: number, id: number, isInline: boolean, offset = 0): void {
    const request = this.#request
    request.id = id
    request.opcode = opcode
    request.flags = SEND_FLAG.SIGNALED | (isInline ? SEND_FLAG.INLINE : 0)
    request.inlineBytes = isInline ? from.memory.bytes.subarray(0, size) : null
    request.address = from.memory.address + offset
    request.length = size
    request.lkey = from.memory.key
    request.remoteAddress = to.memory.address + offset
    request.rkey = to.memory.key
    request.compareAdd = 1n
    assert(from.qp.postSend(request) === VERBS_OK, 'the send queue took no request')
  }
}

function makePair(a: Device, b: Device, bytes: number, slots: number, sl: number): { from: Side; to: Side } {
  const make = (device: Device): Side => {
    const pd = device.allocatePd()
    const sendCq = device.createCq(slots)
    const recvCq = device.createCq(slots)
    const qp = device.createQp({ pd, sendCq, recvCq }, { maxSendWr: slots, maxRecvWr: slots })
    return { device, qp, sendCq, recvCq, memory: device.registerMemory(pd, new Uint8Array(bytes), ALL) }
  }
  const pair = { from: make(a), to: make(b) }
  connectQueuePairs(pair.from.qp, pair.to.qp, { sl })
  return pair
}
