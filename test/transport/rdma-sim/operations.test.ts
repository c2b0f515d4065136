import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../../src/errors.ts'
import {
  ACCESS,
  EINVAL,
  ENOMEM,
  SEND_FLAG,
  WC_OPCODE,
  WC_STATUS,
  WR_OPCODE,
} from '../../../src/transport/rdma-sim/verbs.ts'
import { outcomes, Pair, poll, post, postReceive } from './pair.ts'

const SIGNALED = SEND_FLAG.SIGNALED
const pattern = (length: number, from = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (from + i * 7) & 0xff)

describe('operations move real bytes', () => {
  it.each([1, 2, 2047, 2048, 2049, 4096, 65535])('READ and WRITE of %i bytes, and not one more', (length) => {
    const pair = new Pair({ memoryBytes: 70000 })
    const { a, b } = pair
    b.bytes.set(pattern(length), 10)
    const near = { address: a.memory.address + 3, remoteAddress: b.memory.address + 10, length }
    post(a, b, { ...near, id: 1 })
    pair.settle()
    expect(poll(a.sendCq)).toMatchObject([
      { id: 1, status: 0, opcode: WC_OPCODE.RDMA_READ, byteLength: length },
    ])
    expect(a.bytes.subarray(3, 3 + length)).toEqual(pattern(length))
    expect([a.bytes[2], a.bytes[3 + length]]).toEqual([0, 0])
    post(a, b, { ...near, opcode: WR_OPCODE.RDMA_WRITE, remoteAddress: b.memory.address, id: 2 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual([[2, 0]])
    expect(b.bytes.subarray(0, length)).toEqual(pattern(length))
  })

  it('READs what is there when it is served, not when it was posted', () => {
    const pair = new Pair()
    post(pair.a, pair.b, {})
    pair.fabric.step()
    pair.b.bytes[0] = 42
    pair.settle()
    expect(pair.a.bytes[0]).toBe(42)
  })

  it('SENDs into the oldest receive, with immediate data or without', () => {
    const pair = new Pair()
    const { a, b } = pair
    a.bytes.set(pattern(16))
    for (const [id, at] of [
      [7, 100],
      [8, 200],
    ] as const)
      postReceive(b, { id, address: b.memory.address + at })
    post(a, b, { opcode: WR_OPCODE.SEND, length: 16, id: 1 })
    post(a, b, { opcode: WR_OPCODE.SEND_WITH_IMM, length: 3, immediate: 0xfeedface, id: 2 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual([
      [1, 0],
      [2, 0],
    ])
    expect(poll(b.recvCq)).toMatchObject([
      { id: 7, status: 0, opcode: WC_OPCODE.RECV, byteLength: 16 },
      { id: 8, status: 0, opcode: WC_OPCODE.RECV, byteLength: 3, immediate: 0xfeedface },
    ])
    expect(b.bytes.subarray(100, 116)).toEqual(pattern(16))
    expect(b.bytes.subarray(200, 204)).toEqual(Uint8Array.of(...pattern(3), 0))
  })

  it('WRITE with immediate consumes a receive and writes where it says', () => {
    const pair = new Pair()
    const { a, b } = pair
    a.bytes.set(pattern(8))
    postReceive(b, { id: 5, length: 0 })
    post(a, b, { opcode: WR_OPCODE.RDMA_WRITE_WITH_IMM, immediate: 9, remoteAddress: b.memory.address + 64 })
    pair.settle()
    const done = { id: 5, opcode: WC_OPCODE.RECV_RDMA_WITH_IMM, byteLength: 8, immediate: 9, status: 0 }
    expect(poll(b.recvCq)).toMatchObject([done])
    expect(b.bytes.subarray(64, 72)).toEqual(pattern(8))
  })

  it('atomics return what was there and change 8 bytes, wrapping at 2^64', () => {
    const pair = new Pair()
    const { a, b } = pair
    const word = new DataView(b.bytes.buffer)
    const found = new DataView(a.bytes.buffer)
    word.setBigUint64(8, 2n ** 64n - 2n, true)
    const at = { remoteAddress: b.memory.address + 8 }
    const add = (compareAdd: bigint) => {
      post(a, b, { ...at, opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, compareAdd })
      pair.settle()
      return found.getBigUint64(0, true)
    }
    const swap = (compareAdd: bigint, value: bigint) => {
      post(a, b, { ...at, opcode: WR_OPCODE.ATOMIC_CMP_AND_SWP, compareAdd, swap: value })
      pair.settle()
      return found.getBigUint64(0, true)
    }
    expect(add(3n)).toBe(2n ** 64n - 2n)
    expect(word.getBigUint64(8, true)).toBe(1n)
    expect(add(2n ** 63n)).toBe(1n)
    expect(swap(5n, 6n), 'unequal: nothing changes').toBe(2n ** 63n + 1n)
    expect(word.getBigUint64(8, true)).toBe(2n ** 63n + 1n)
    expect(swap(2n ** 63n + 1n, 2n ** 40n + 7n)).toBe(2n ** 63n + 1n)
    expect(word.getBigUint64(8, true)).toBe(2n ** 40n + 7n)
    expect(poll(a.sendCq).map((done) => done.status)).toEqual([0, 0, 0, 0])
  })

  it('inlined bytes are copied when posted and need no key; too many are refused', () => {
    const pair = new Pair()
    const { a, b } = pair
    const inlineBytes = pattern(220)
    const inline = { opcode: WR_OPCODE.RDMA_WRITE, flags: SIGNALED | SEND_FLAG.INLINE, lkey: 0x7700 }
    expect(post(a, b, { ...inline, inlineBytes })).toBe(0)
    inlineBytes.fill(0)
    pair.settle()
    expect(b.bytes.subarray(0, 221)).toEqual(Uint8Array.of(...pattern(220), 0))
    expect(post(a, b, { ...inline, inlineBytes: pattern(221) })).toBe(ENOMEM)
    expect(post(a, b, { ...inline, opcode: WR_OPCODE.RDMA_READ, inlineBytes: pattern(8) })).toBe(EINVAL)
  })

  it('an operation of no bytes succeeds whatever its keys', () => {
    const pair = new Pair()
    postReceive(pair.b, { length: 0, lkey: 0 })
    for (const opcode of [WR_OPCODE.RDMA_READ, WR_OPCODE.RDMA_WRITE, WR_OPCODE.SEND])
      post(pair.a, pair.b, { opcode, length: 0, lkey: 0, rkey: 0, id: opcode })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([WR_OPCODE.RDMA_READ, 0, WR_OPCODE.SEND].map((id) => [id, 0]))
    expect(outcomes(pair.b.recvCq)).toEqual([[0, 0]])
  })
})

describe('order on one queue pair', () => {
  it('a READ behind a WRITE sees it', () => {
    const pair = new Pair()
    const { a, b } = pair
    a.bytes.set(pattern(4096))
    post(a, b, { opcode: WR_OPCODE.RDMA_WRITE, length: 4096, flags: 0 })
    post(a, b, { length: 4096, address: a.memory.address + 8192 })
    pair.settle()
    expect(a.bytes.subarray(8192, 8192 + 4096)).toEqual(pattern(4096))
  })

  it('a WRITE behind a READ may overtake it, and with FENCE does not', () => {
    const overtakes = (flags: number): boolean => {
      const pair = new Pair()
      const { a, b } = pair
      a.bytes.fill(9, 4096, 4097)
      post(a, b, { length: 2048 })
      const write = { opcode: WR_OPCODE.RDMA_WRITE, length: 1, address: a.memory.address + 4096 }
      post(a, b, { ...write, flags: SIGNALED | flags })
      pair.settle()
      expect(b.bytes[0]).toBe(9)
      return a.bytes[0] === 9
    }
    expect(overtakes(0)).toBe(true)
    expect(overtakes(SEND_FLAG.FENCE)).toBe(false)
  })

  it('completions come in posted order even when a WRITE is answered before a READ', () => {
    const pair = new Pair()
    post(pair.a, pair.b, { length: 65536, id: 1 })
    post(pair.a, pair.b, { length: 0, opcode: WR_OPCODE.RDMA_WRITE, id: 2 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual([
      [1, 0],
      [2, 0],
    ])
  })

  it('max_rd_atomic blocks the head of the queue, and everything behind it', () => {
    const pair = new Pair({ maxRdAtomic: 2, memoryBytes: 2 ** 20 })
    const { a, b } = pair
    const pingAlone = new Pair()
    post(pingAlone.a, pingAlone.b, { opcode: WR_OPCODE.RDMA_WRITE })
    pingAlone.settle()
    const alone = poll(pingAlone.a.sendCq)[0]!.nicNs
    for (let id = 0; id < 3; id++) post(a, b, { id, length: 2 ** 19 })
    post(a, b, { id: 3, opcode: WR_OPCODE.RDMA_WRITE })
    let inFlightMax = 0
    while (pair.fabric.step()) inFlightMax = Math.max(inFlightMax, a.qp.readsInFlight)
    expect(inFlightMax).toBe(2)
    const [, , , write] = poll(a.sendCq)
    expect(write!.nicNs).toBeGreaterThan(alone + 3 * 2 ** 19 * 0.26)
  })
})

describe('registration', () => {
  it('REMOTE_WRITE and REMOTE_ATOMIC need LOCAL_WRITE, unknown flags are refused', () => {
    const { a } = new Pair()
    const register = (access: number) => () => a.device.registerMemory(a.pd, new Uint8Array(8), access)
    expect(register(ACCESS.REMOTE_WRITE)).toThrow(FaultlaneError)
    expect(register(ACCESS.REMOTE_ATOMIC | ACCESS.REMOTE_READ)).toThrow(FaultlaneError)
    expect(register(1 << 9)).toThrow(FaultlaneError)
    expect(register(ACCESS.REMOTE_READ)).not.toThrow()
  })

  it('addresses do not overlap and may be chosen, beyond 2^32 too', () => {
    const pair = new Pair()
    const { a, b } = pair
    const base = 0x7f12_3456_7000
    const far = b.device.registerMemory(b.pd, pattern(64), ACCESS.REMOTE_READ, base)
    post(a, b, { remoteAddress: base + 56, rkey: far.key })
    pair.settle()
    expect(a.bytes.subarray(0, 8)).toEqual(pattern(64).subarray(56))
    const next = b.device.registerMemory(b.pd, new Uint8Array(8), ACCESS.REMOTE_READ)
    expect(next.address).toBeGreaterThanOrEqual(base + 64)
  })

  it('a window opens a part until it is invalidated, and only for the queue pair it is bound to', () => {
    const pair = new Pair()
    const { a, b } = pair
    a.bytes.set(pattern(256))
    const window = a.device.registrations.allocateWindow(a.pd)
    const rkey = window.key + 1
    const bind = { opcode: WR_OPCODE.BIND_MW, rkey, address: a.memory.address + 64, length: 32 }
    post(a, a, { ...bind, windowAccess: ACCESS.REMOTE_READ, id: 1 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual([[1, 0]])
    post(b, a, { rkey, remoteAddress: a.memory.address + 80, length: 16, id: 2 })
    pair.settle()
    expect(outcomes(b.sendCq)).toEqual([[2, 0]])
    expect(b.bytes.subarray(0, 16)).toEqual(pattern(256).subarray(80, 96))
    post(a, a, { opcode: WR_OPCODE.LOCAL_INV, rkey, id: 3 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual([[3, 0]])
    post(b, a, { rkey, remoteAddress: a.memory.address + 80, length: 16, id: 4 })
    pair.settle()
    expect(outcomes(b.sendCq)).toEqual([[4, WC_STATUS.REM_ACCESS_ERR]])
  })
})

it('any mix of READs, WRITEs and atomics leaves the memory that a model says, losses or not', () => {
  const bytes = 256
  const op = fc.record({
    kind: fc.constantFrom('read', 'write', 'add'),
    from: fc.nat(bytes - 1),
    to: fc.nat(bytes - 1),
    length: fc.integer({ min: 1, max: 64 }),
    lost: fc.constantFrom(0, 0, 0, 1, 2),
  })
  fc.assert(
    fc.property(fc.array(op, { maxLength: 40 }), (ops) => {
      const pair = new Pair({ memoryBytes: bytes, timeout: 8 })
      const { a, b } = pair
      a.bytes.set(pattern(bytes))
      b.bytes.set(pattern(bytes, 99))
      const [near, far] = [a.bytes.slice(), b.bytes.slice()]
      for (const { kind, from, to, length, lost } of ops) {
        const n = Math.min(length, bytes - from, bytes - to)
        pair.fabric.losses.requests = lost === 1 ? 1 : 0
        pair.fabric.losses.answers = lost === 2 ? 1 : 0
        const [address, remoteAddress] = [a.memory.address + from, b.memory.address + to]
        if (kind === 'add') {
          const at = to & ~7
          const landing = Math.min(from, bytes - 8)
          const view = new DataView(far.buffer)
          near.set(far.subarray(at, at + 8), landing)
          view.setBigUint64(at, BigInt.asUintN(64, view.getBigUint64(at, true) + 3n), true)
          const where = { address: a.memory.address + landing, remoteAddress: b.memory.address + at }
          post(a, b, { opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, compareAdd: 3n, ...where })
        } else if (kind === 'read') {
          near.set(far.subarray(to, to + n), from)
          post(a, b, { length: n, address, remoteAddress })
        } else {
          far.set(near.subarray(from, from + n), to)
          post(a, b, { opcode: WR_OPCODE.RDMA_WRITE, length: n, address, remoteAddress })
        }
        pair.settle()
        expect(poll(a.sendCq).map((done) => done.status)).toEqual([0])
      }
      expect(a.bytes).toEqual(near)
      expect(b.bytes).toEqual(far)
    }),
    { seed: 5 },
  )
})
