/** Two emulated NICs with one connected pair of queue pairs: what most tests of the verbs start from. */

import type { CompletionQueue } from '../../../src/transport/rdma-sim/completion-queue.ts'
import { type ConnectOptions, connectQueuePairs } from '../../../src/transport/rdma-sim/connect.ts'
import type { Device, DeviceOptions } from '../../../src/transport/rdma-sim/device.ts'
import { Fabric } from '../../../src/transport/rdma-sim/fabric.ts'
import { nicPreset } from '../../../src/transport/rdma-sim/nic-presets.ts'
import type { QueuePair } from '../../../src/transport/rdma-sim/queue-pair.ts'
import type { ProtectionDomain, Registration } from '../../../src/transport/rdma-sim/registration.ts'
import { ACCESS, SEND_FLAG, WR_OPCODE } from '../../../src/transport/rdma-sim/verbs.ts'
import { ReceiveRequest, SendRequest, WorkCompletion } from '../../../src/transport/rdma-sim/work-request.ts'

export const ALL_ACCESS =
  ACCESS.LOCAL_WRITE | ACCESS.REMOTE_WRITE | ACCESS.REMOTE_READ | ACCESS.REMOTE_ATOMIC | ACCESS.MW_BIND

export interface End {
  readonly device: Device
  readonly pd: ProtectionDomain
  readonly sendCq: CompletionQueue
  readonly recvCq: CompletionQueue
  readonly qp: QueuePair
  readonly bytes: Uint8Array
  readonly memory: Registration
}

export interface PairOptions extends ConnectOptions {
  readonly nic?: string
  readonly memoryBytes?: number
  readonly memoryAccess?: number
  readonly depth?: number
  readonly cqEntries?: number
  readonly isConnected?: boolean
  readonly device?: DeviceOptions
}

/** A completion as a plain value. */
export interface Done {
  readonly id: number
  readonly status: number
  readonly opcode: number
  readonly byteLength: number
  readonly immediate: number
  readonly nicNs: number
}

export class Pair {
  readonly fabric = new Fabric()
  readonly a: End
  readonly b: End

  constructor(options: PairOptions = {}) {
    this.a = this.addEnd(options)
    this.b = this.addEnd(options)
    if (options.isConnected ?? true) connectQueuePairs(this.a.qp, this.b.qp, options)
  }

  addEnd(options: PairOptions = {}): End {
    const device = this.fabric.addDevice(nicPreset(options.nic ?? 'cx3-qdr40').figures, options.device)
    const pd = device.allocatePd()
    const depth = options.depth ?? 64
    const sendCq = device.createCq(options.cqEntries ?? depth)
    const recvCq = device.createCq(options.cqEntries ?? depth)
    const qp = device.createQp({ pd, sendCq, recvCq }, { maxSendWr: depth, maxRecvWr: depth })
    const bytes = new Uint8Array(new SharedArrayBuffer(options.memoryBytes ?? 65536))
    const memory = device.registerMemory(pd, bytes, options.memoryAccess ?? ALL_ACCESS)
    return { device, pd, sendCq, recvCq, qp, bytes, memory }
  }

  /** Until nothing is under way; bounded, so that a test cannot hang. */
  settle(eventsMax = 1_000_000): void {
    for (let i = 0; i < eventsMax; i++) if (!this.fabric.step()) return
    throw new Error(`still busy after ${eventsMax} events`)
  }
}

/** What a test varies of a request; the rest is a signalled 8-byte transfer between the two memories. */
export type Wanted = Partial<Omit<SendRequest, 'write'>>

export function request(from: End, to: End, wanted: Wanted): SendRequest {
  const request = new SendRequest()
  request.opcode = WR_OPCODE.RDMA_READ
  request.flags = SEND_FLAG.SIGNALED
  request.address = from.memory.address
  request.length = 8
  request.lkey = from.memory.key
  request.remoteAddress = to.memory.address
  request.rkey = to.memory.key
  return Object.assign(request, wanted)
}

export function post(from: End, to: End, wanted: Wanted): number {
  return from.qp.postSend(request(from, to, wanted))
}

export function postReceive(end: End, wanted: Partial<Omit<ReceiveRequest, 'write'>> = {}): number {
  const receive = new ReceiveRequest()
  receive.address = end.memory.address
  receive.length = 64
  receive.lkey = end.memory.key
  return end.qp.postReceive(Object.assign(receive, wanted))
}

export function poll(cq: CompletionQueue): Done[] {
  const completion = new WorkCompletion()
  const done: Done[] = []
  while (cq.poll(completion) === 1) {
    const { id, status, opcode, byteLength, immediate, nicNs } = completion
    done.push({ id, status, opcode, byteLength, immediate, nicNs })
  }
  return done
}

/** [id, status] of everything that a completion queue holds. */
export function outcomes(cq: CompletionQueue): [number, number][] {
  return poll(cq).map(({ id, status }) => [id, status])
}

export function events(device: Device): number[] {
  const events: number[] = []
  for (let next = device.takeAsyncEvent(); next !== undefined; next = device.takeAsyncEvent())
    events.push(next.event)
  return events
}
