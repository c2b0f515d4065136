/**
 * Every ibv_wc_status that a reliable connection can produce, by its documented cause. In each case the failing
 * request completes with it, what was posted behind it is flushed in posted order, and both ends are in the
 * state that the standard says.
 */
import { describe, expect, it } from 'vitest'
import {
  ACCESS,
  ASYNC_EVENT,
  QP_ATTR,
  QP_STATE,
  SEND_FLAG,
  WC_STATUS,
  WR_OPCODE,
} from '../../../src/transport/rdma-sim/verbs.ts'
import { events, outcomes, Pair, type PairOptions, post, postReceive, type Wanted } from './pair.ts'

const { ERR, RTS } = QP_STATE
const FLUSHED = WC_STATUS.WR_FLUSH_ERR

interface Case {
  readonly name: string
  readonly status: number
  readonly options?: PairOptions
  readonly wanted: (pair: Pair) => Wanted
  /** The other end: its state, its asynchronous events, and how its receives (ids 100, 101) end. */
  readonly peerState: number
  readonly peerEvents?: number[]
  readonly receives?: [number, number][]
  readonly receiveLength?: number
  readonly receiveKey?: number
}

const S = WC_STATUS
const read: Wanted = { opcode: WR_OPCODE.RDMA_READ }
const write: Wanted = { opcode: WR_OPCODE.RDMA_WRITE }
const flushedReceives: [number, number][] = [
  [100, FLUSHED],
  [101, FLUSHED],
]
const invalid = { peerState: ERR, peerEvents: [ASYNC_EVENT.QP_REQ_ERR], receives: flushedReceives }
const denied = { peerState: ERR, peerEvents: [ASYNC_EVENT.QP_ACCESS_ERR], receives: flushedReceives }
const local = { peerState: RTS, receives: [] as [number, number][] }

const cases: Case[] = [
  { name: 'unknown opcode', status: S.LOC_QP_OP_ERR, wanted: () => ({ opcode: 77 }), ...local },
  {
    name: 'atomic of 4 bytes',
    status: S.LOC_QP_OP_ERR,
    wanted: () => ({ opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, length: 4 }),
    ...local,
  },
  {
    name: 'READ without max_rd_atomic',
    status: S.LOC_QP_OP_ERR,
    options: { maxRdAtomic: 0 },
    wanted: () => read,
    ...local,
  },
  {
    name: 'invalidating what is no window',
    status: S.LOC_QP_OP_ERR,
    wanted: (pair) => ({ opcode: WR_OPCODE.LOCAL_INV, rkey: pair.a.memory.key }),
    ...local,
  },
  { name: 'unknown lkey', status: S.LOC_PROT_ERR, wanted: () => ({ ...write, lkey: 0x7700 }), ...local },
  {
    name: 'local range past the end',
    status: S.LOC_PROT_ERR,
    wanted: (pair) => ({ ...write, address: pair.a.memory.address + 65536 - 7 }),
    ...local,
  },
  {
    name: 'local memory of another protection domain',
    status: S.LOC_PROT_ERR,
    wanted: ({ a }) => {
      const other = a.device.registerMemory(a.device.allocatePd(), new Uint8Array(64), ACCESS.LOCAL_WRITE)
      return { ...read, lkey: other.key, address: other.address }
    },
    ...local,
  },
  {
    name: 'READ into memory without LOCAL_WRITE',
    status: S.LOC_PROT_ERR,
    wanted: ({ a }) => {
      const readOnly = a.device.registerMemory(a.pd, new Uint8Array(64), ACCESS.REMOTE_READ)
      return { ...read, lkey: readOnly.key, address: readOnly.address }
    },
    ...local,
  },
  {
    name: 'binding a window to memory without MW_BIND',
    status: S.MW_BIND_ERR,
    wanted: ({ a }) => {
      const memory = a.device.registerMemory(a.pd, new Uint8Array(64), ACCESS.REMOTE_READ)
      const window = a.device.registrations.allocateWindow(a.pd)
      const { key: lkey, address } = memory
      return { opcode: WR_OPCODE.BIND_MW, lkey, address, rkey: window.key, windowAccess: ACCESS.REMOTE_READ }
    },
    ...local,
  },
  {
    name: 'WRITE that the queue pair does not allow',
    status: S.REM_INV_REQ_ERR,
    options: { accessFlags: ACCESS.REMOTE_READ },
    wanted: () => write,
    ...invalid,
  },
  {
    name: 'misaligned atomic',
    status: S.REM_INV_REQ_ERR,
    wanted: (pair) => ({ opcode: WR_OPCODE.ATOMIC_CMP_AND_SWP, remoteAddress: pair.b.memory.address + 4 }),
    ...invalid,
  },
  {
    name: 'SEND longer than the receive',
    status: S.REM_INV_REQ_ERR,
    wanted: () => ({ opcode: WR_OPCODE.SEND }),
    receiveLength: 7,
    ...invalid,
    receives: [
      [100, S.LOC_LEN_ERR],
      [101, FLUSHED],
    ],
  },
  {
    name: 'READ longer than 2^31',
    status: S.REM_INV_REQ_ERR,
    wanted: ({ a }) => {
      const length = 2 ** 31 + 8 // Address space only: nothing touches it.
      const large = a.device.registerMemory(a.pd, new Uint8Array(length), ACCESS.LOCAL_WRITE)
      return { ...read, lkey: large.key, address: large.address, length }
    },
    ...invalid,
  },
  { name: 'unknown rkey', status: S.REM_ACCESS_ERR, wanted: () => ({ ...read, rkey: 0x7700 }), ...denied },
  {
    name: 'stale rkey',
    status: S.REM_ACCESS_ERR,
    wanted: ({ b }) => {
      const { key: rkey } = b.memory
      b.device.registrations.deregister(b.memory)
      b.device.registerMemory(b.pd, b.bytes, ACCESS.REMOTE_READ, b.memory.address) // In the same slot.
      return { ...read, rkey }
    },
    ...denied,
  },
  {
    name: 'remote range past the end',
    status: S.REM_ACCESS_ERR,
    wanted: (pair) => ({ ...read, remoteAddress: pair.b.memory.address + 65536 - 7 }),
    ...denied,
  },
  {
    name: 'memory without REMOTE_WRITE',
    status: S.REM_ACCESS_ERR,
    options: { memoryAccess: ACCESS.LOCAL_WRITE | ACCESS.REMOTE_READ },
    wanted: () => write,
    ...denied,
  },
  {
    name: 'memory without REMOTE_ATOMIC',
    status: S.REM_ACCESS_ERR,
    options: { memoryAccess: ACCESS.LOCAL_WRITE | ACCESS.REMOTE_READ },
    wanted: () => ({ opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD }),
    ...denied,
  },
  {
    name: 'remote memory of another protection domain',
    status: S.REM_ACCESS_ERR,
    wanted: ({ b }) => {
      const other = b.device.registerMemory(b.device.allocatePd(), new Uint8Array(64), ACCESS.REMOTE_READ)
      return { ...read, rkey: other.key, remoteAddress: other.address }
    },
    ...denied,
  },
  {
    name: 'WRITE with immediate to memory that is not open',
    status: S.REM_ACCESS_ERR,
    wanted: () => ({ opcode: WR_OPCODE.RDMA_WRITE_WITH_IMM, rkey: 0x7700 }),
    ...denied,
    receives: [
      [100, S.LOC_ACCESS_ERR],
      [101, FLUSHED],
    ],
  },
  {
    name: 'SEND to a receive with a bad lkey',
    status: S.REM_OP_ERR,
    wanted: () => ({ opcode: WR_OPCODE.SEND }),
    receiveKey: 0x7700,
    peerState: ERR,
    peerEvents: [ASYNC_EVENT.QP_FATAL],
    receives: [
      [100, S.LOC_PROT_ERR],
      [101, FLUSHED],
    ],
  },
]

/** Requests 1 and 2 are fine, 3 is the case and unsignalled, 4 to 6 stand behind it. */
describe('the failing request completes, the rest is flushed in posted order', () => {
  it.each(cases)('$name: status $status', (c) => {
    const pair = new Pair(c.options)
    const { a, b } = pair
    const receive = { length: c.receiveLength ?? 64, lkey: c.receiveKey ?? b.memory.key }
    postReceive(b, { id: 100, ...receive })
    postReceive(b, { id: 101, ...receive })
    const wanted = c.wanted(pair)
    const fine: Wanted = { opcode: WR_OPCODE.RDMA_READ, length: 0 }
    const isFineRead = c.options?.maxRdAtomic !== 0
    if (isFineRead) for (const id of [1, 2]) expect(post(a, b, { ...fine, id })).toBe(0)
    expect(post(a, b, { ...wanted, id: 3, flags: 0 })).toBe(0)
    for (const id of [4, 5, 6]) post(a, b, { ...fine, id, flags: id === 5 ? 0 : SEND_FLAG.SIGNALED })
    pair.settle()
    const before = isFineRead ? [1, 2].map((id) => [id, S.SUCCESS]) : []
    expect(outcomes(a.sendCq)).toEqual([...before, [3, c.status], ...[4, 5, 6].map((id) => [id, FLUSHED])])
    expect(a.qp.state).toBe(ERR)
    expect(b.qp.state).toBe(c.peerState)
    expect(events(b.device)).toEqual(c.peerEvents ?? [])
    expect(outcomes(b.recvCq)).toEqual(c.receives ?? [])
    // And so is what is posted from now on.
    expect(post(a, b, { ...fine, id: 7 })).toBe(0)
    expect(outcomes(a.sendCq)).toEqual([[7, FLUSHED]])
    expect(postReceive(a, { id: 8 })).toBe(0)
    expect(outcomes(a.recvCq)).toEqual([[8, FLUSHED]])
  })
})

describe('statuses that need a broken wire or a missing peer', () => {
  it('7: an answer that was not asked for', () => {
    const pair = new Pair()
    pair.fabric.losses.spoiltAnswers = 1
    post(pair.a, pair.b, { id: 1 })
    post(pair.a, pair.b, { id: 2 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([
      [1, WC_STATUS.BAD_RESP_ERR],
      [2, FLUSHED],
    ])
    expect([pair.a.qp.state, pair.b.qp.state]).toEqual([ERR, RTS])
  })

  it('12: no answer after retry_cnt timeouts', () => {
    const pair = new Pair({ timeout: 8, retryCount: 2 })
    pair.fabric.losses.requests = 100
    post(pair.a, pair.b, { id: 1, flags: 0 })
    post(pair.a, pair.b, { id: 2 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([
      [1, WC_STATUS.RETRY_EXC_ERR],
      [2, FLUSHED],
    ])
    expect([pair.a.qp.state, pair.b.qp.state]).toEqual([ERR, RTS])
    // Three transmissions of two requests, each waited for 4.096 µs × 2^8.
    expect(pair.fabric.losses.requests).toBe(100 - 6)
    expect(pair.fabric.loop.nowNs()).toBeGreaterThan(3 * 1_048_576)
    expect(pair.fabric.loop.nowNs()).toBeLessThan(3 * 1_048_576 + 10_000)
  })

  it('12: the other queue pair is in error', () => {
    const pair = new Pair({ timeout: 8, retryCount: 1 })
    pair.b.device.modifyQp(pair.b.qp, { state: ERR }, QP_ATTR.STATE)
    post(pair.a, pair.b, { id: 1 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([[1, WC_STATUS.RETRY_EXC_ERR]])
  })

  it('13: the receiver never posts', () => {
    const pair = new Pair({ rnrRetry: 2, minRnrTimer: 12 })
    post(pair.a, pair.b, { id: 1, opcode: WR_OPCODE.SEND })
    post(pair.a, pair.b, { id: 2, opcode: WR_OPCODE.RDMA_WRITE })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([
      [1, WC_STATUS.RNR_RETRY_EXC_ERR],
      [2, FLUSHED],
    ])
    // Class B: the receiver's state does not change. Two waits of 0.64 ms.
    expect([pair.a.qp.state, pair.b.qp.state]).toEqual([ERR, RTS])
    expect(pair.fabric.loop.nowNs()).toBeGreaterThan(2 * 640_000)
    expect(outcomes(pair.b.recvCq)).toEqual([])
  })
})

describe('which of two deserved statuses wins', () => {
  it('the queue pair is asked before the key, the length before the key, the key before the alignment', () => {
    const bad = { rkey: 0x7700 }
    const tried = (options: PairOptions, wanted: Wanted, receiveLength = 64): number => {
      const pair = new Pair(options)
      postReceive(pair.b, { length: receiveLength })
      post(pair.a, pair.b, wanted)
      pair.settle()
      return outcomes(pair.a.sendCq)[0]![1]
    }
    expect(tried({ accessFlags: ACCESS.REMOTE_READ }, { ...write, ...bad })).toBe(S.REM_INV_REQ_ERR)
    expect(tried({}, { ...write, ...bad })).toBe(S.REM_ACCESS_ERR)
    expect(tried({}, { opcode: WR_OPCODE.SEND }, 4)).toBe(S.REM_INV_REQ_ERR)
    const odd = { opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, remoteAddress: 3, ...bad }
    expect(tried({}, odd)).toBe(S.REM_ACCESS_ERR)
    // A receive comes before the key: without one the sender waits, whatever the key.
    const pair = new Pair({ rnrRetry: 0 })
    post(pair.a, pair.b, { opcode: WR_OPCODE.RDMA_WRITE_WITH_IMM, ...bad })
    pair.settle()
    expect(outcomes(pair.a.sendCq)[0]![1]).toBe(S.RNR_RETRY_EXC_ERR)
  })

  it('max_dest_rd_atomic of 0 refuses READs', () => {
    const pair = new Pair({ maxDestRdAtomic: 0 })
    post(pair.a, pair.b, { id: 1 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([[1, S.REM_INV_REQ_ERR]])
    expect(pair.b.qp.state).toBe(ERR)
  })
})
