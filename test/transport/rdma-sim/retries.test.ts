import { describe, expect, it } from 'vitest'
import { WR_OPCODE } from '../../../src/transport/rdma-sim/verbs.ts'
import { outcomes, Pair, post, postReceive } from './pair.ts'

const succeeded = (count: number): [number, number][] => Array.from({ length: count }, (_, id) => [id, 0])

describe('what the wire loses is repeated, and carried out once', () => {
  it('a lost request in the middle: the gap is reported and the requester goes back, before any timeout', () => {
    const pair = new Pair()
    const { a, b } = pair
    const add = { opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, compareAdd: 1n }
    // Twice: a gap is said once, the next one again.
    for (const from of [0, 6]) {
      post(a, b, { ...add, id: from })
      while (a.qp.slots.oldest === from) pair.fabric.step()
      pair.fabric.losses.requests = 1
      for (let id = from + 1; id < from + 6; id++) post(a, b, { ...add, id })
      while (a.qp.slots.oldest !== from + 6) pair.fabric.step()
    }
    expect(pair.fabric.loop.nowNs()).toBeLessThan(100_000)
    expect(outcomes(a.sendCq)).toEqual(succeeded(12))
    expect(new DataView(b.bytes.buffer).getBigUint64(0, true)).toBe(12n)
  })

  it('a lost answer of an atomic: the saved result comes, the atomic is not done again', () => {
    const pair = new Pair({ timeout: 8 })
    const { a, b } = pair
    pair.fabric.losses.answers = 1
    post(a, b, { opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, compareAdd: 5n, id: 0 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual(succeeded(1))
    expect(new DataView(b.bytes.buffer).getBigUint64(0, true)).toBe(5n)
    expect(new DataView(a.bytes.buffer).getBigUint64(0, true)).toBe(0n)
    expect(pair.fabric.loop.nowNs()).toBeGreaterThan(1_048_576)
  })

  it('a lost acknowledgement of a SEND: acknowledged again, received once', () => {
    const pair = new Pair({ timeout: 8 })
    const { a, b } = pair
    for (const id of [0, 1]) postReceive(b, { id })
    pair.fabric.losses.answers = 1
    post(a, b, { opcode: WR_OPCODE.SEND, id: 0 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual(succeeded(1))
    expect(outcomes(b.recvCq)).toEqual(succeeded(1))
  })

  it('a lost acknowledgement needs no retry when a later one comes', () => {
    const pair = new Pair({ timeout: 8 })
    const { a, b } = pair
    pair.fabric.losses.answers = 1
    for (let id = 0; id < 3; id++) post(a, b, { opcode: WR_OPCODE.RDMA_WRITE, id })
    while (a.qp.slots.oldest !== 3) pair.fabric.step()
    expect(pair.fabric.loop.nowNs()).toBeLessThan(20_000)
    expect(outcomes(a.sendCq)).toEqual(succeeded(3))
  })

  it('lost READ answers come again, from the first that is missing', () => {
    const pair = new Pair({ timeout: 8 })
    const { a, b } = pair
    b.bytes.fill(7)
    pair.fabric.losses.answers = 2
    for (let id = 0; id < 5; id++) post(a, b, { address: a.memory.address + 8 * id, id })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual(succeeded(5))
    expect([...a.bytes.subarray(0, 41)]).toEqual([...Array(40).fill(7), 0])
  })

  it('progress gives the retries back', () => {
    const pair = new Pair({ timeout: 8, retryCount: 1 })
    for (let id = 0; id < 10; id++) {
      pair.fabric.losses.answers = 1
      post(pair.a, pair.b, { id })
      pair.settle()
    }
    expect(outcomes(pair.a.sendCq)).toEqual(succeeded(10))
  })

  it('a READ that takes longer than the timeout is no reason to repeat it', () => {
    const pair = new Pair({ timeout: 1, retryCount: 0, memoryBytes: 2 ** 20 })
    post(pair.a, pair.b, { length: 2 ** 20, id: 0 })
    pair.settle()
    expect(outcomes(pair.a.sendCq)).toEqual(succeeded(1))
  })
})

describe('receiver not ready', () => {
  it('waits the time that the receiver says, then goes on in order', () => {
    const pair = new Pair({ minRnrTimer: 12 })
    const { a, b } = pair
    for (let id = 0; id < 3; id++) post(a, b, { opcode: WR_OPCODE.SEND, id, length: 4 })
    while (!a.qp.isRnrWaiting) pair.fabric.step()
    const waitFromNs = pair.fabric.loop.nowNs()
    for (let id = 0; id < 3; id++) postReceive(b, { id })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual(succeeded(3))
    expect(outcomes(b.recvCq)).toEqual(succeeded(3))
    expect(waitFromNs).toBeLessThan(5_000)
  })

  it('an rnr_retry of 7 waits for ever', () => {
    const pair = new Pair({ rnrRetry: 7, minRnrTimer: 1 })
    const { a, b } = pair
    post(a, b, { opcode: WR_OPCODE.SEND, id: 0 })
    while (pair.fabric.loop.nowNs() < 5_000_000) pair.fabric.step() // 500 waits of 10 µs.
    expect(outcomes(a.sendCq)).toEqual([])
    postReceive(b, { id: 0 })
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual(succeeded(1))
  })
})
