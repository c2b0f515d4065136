import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EventHeap } from '../../../src/transport/rdma-sim/event-heap.ts'
import { EventLoop } from '../../../src/transport/rdma-sim/event-loop.ts'
import { WR_OPCODE } from '../../../src/transport/rdma-sim/verbs.ts'
import { Pair, poll, post } from './pair.ts'

describe('EventHeap', () => {
  it('gives events by time and, at one time, in the order they came; any mix of push and pop', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.nat(20), { freq: 3 }), { maxLength: 2000 }), (steps) => {
        const heap = new EventHeap()
        const model: [time: number, sequence: number][] = []
        for (const [sequence, time] of steps.entries()) {
          if (time !== null) {
            heap.push(time, 1, sequence, -1, 2, 3)
            model.push([time, sequence])
            continue
          }
          model.sort((x, y) => x[0] - y[0] || x[1] - y[1])
          expect(heap.nextPs()).toBe(model[0]?.[0] ?? Infinity)
          const expected = model.shift()
          expect(heap.pop()).toBe(expected !== undefined)
          if (expected !== undefined)
            expect([heap.timePs, heap.a, heap.kind, heap.b, heap.c, heap.d]).toEqual([
              ...expected,
              1,
              -1,
              2,
              3,
            ])
        }
        expect(heap.size).toBe(model.length)
      }),
      { seed: 2 },
    )
  })
})

describe('EventLoop', () => {
  it('shows an event its own time, however late the clock comes', () => {
    const seen: number[] = []
    const loop: EventLoop = new EventLoop({ onEvent: (kind) => seen.push(kind, loop.nowPs) })
    loop.at(30, 1, 0)
    loop.at(10, 2, 0)
    expect(loop.advanceTo(9)).toBe(0)
    expect(loop.advanceTo(1000)).toBe(2)
    expect(seen).toEqual([2, 10, 1, 30])
    expect(loop.nowPs).toBe(1000)
    expect(() => loop.at(999, 0, 0)).toThrow('past')
  })
})

describe('real time is the same model', () => {
  /** Modelled ns of a burst of requests, with time moved on by `moveOn`. */
  function modelled(moveOn: (pair: Pair) => void): number[] {
    const pair = new Pair()
    for (let id = 0; id < 20; id++)
      post(pair.a, pair.b, {
        id,
        length: 4096,
        opcode: id % 3 === 0 ? WR_OPCODE.RDMA_WRITE : WR_OPCODE.RDMA_READ,
      })
    moveOn(pair)
    return poll(pair.a.sendCq).map((done) => done.nicNs)
  }

  it('a late and irregular poller gets the modelled times of virtual time', () => {
    const virtual = modelled((pair) => pair.settle())
    expect(virtual).toHaveLength(20)
    for (const stridePs of [700, 1_000_000, 37_000_000]) {
      const real = modelled((pair) => {
        for (let nowPs = 0; nowPs < 1e8; nowPs += stridePs * (1 + (nowPs % 3))) pair.fabric.advanceTo(nowPs)
      })
      expect(real).toEqual(virtual)
    }
  })

  it('a turn handles a bounded number of events', () => {
    const pair = new Pair()
    for (let id = 0; id < 20; id++) post(pair.a, pair.b, { id, length: 65536 })
    let turns = 0
    for (let handled = 100; handled === 100; turns++) handled = pair.fabric.advanceTo(1e12, 100)
    expect(turns).toBeGreaterThan(5)
    expect(poll(pair.a.sendCq)).toHaveLength(20)
  })
})
