import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../../src/errors.ts'
import { VL_COUNT, VlArbiter, type VlArbitration } from '../../../src/transport/rdma-sim/vl-arbiter.ts'

/** Bytes that each lane gets while all named lanes always have a packet. */
function served(tables: VlArbitration, packets: Record<number, number>, turns: number): number[] {
  const arbiter = new VlArbiter(tables)
  const heads = new Int32Array(VL_COUNT)
  for (const [vl, bytes] of Object.entries(packets)) heads[Number(vl)] = bytes
  const bytes = new Array<number>(VL_COUNT).fill(0)
  for (let i = 0; i < turns; i++) {
    const vl = arbiter.pick(heads)
    bytes[vl]! += heads[vl]!
  }
  return bytes
}

describe('virtual lane arbitration', () => {
  it('shares within a table by weight', () => {
    const low = [
      [1, 64],
      [2, 128],
      [3, 192],
    ] as const
    const bytes = served({ high: [], low, highLimit: 0 }, { 1: 4096, 2: 4096, 3: 4096 }, 6000)
    expect([bytes[1]! / 4096, bytes[2]! / 4096, bytes[3]! / 4096]).toEqual([1000, 2000, 3000])
  })

  it('overdraws a weight by at most the packet that was begun', () => {
    const low = [
      [0, 1],
      [1, 1],
    ] as const
    const bytes = served({ high: [], low, highLimit: 0 }, { 0: 4096, 1: 64 }, 1000)
    expect(bytes[0]! / bytes[1]!).toBe(64)
  })

  it('high_limit 0 lets one high packet pass a waiting low one, n lets n × 4096 bytes, 255 all', () => {
    const share = (highLimit: number) => {
      const bytes = served({ high: [[1, 64]], low: [[0, 64]], highLimit }, { 0: 4096, 1: 4096 }, 7000)
      return bytes[1]! / 4096
    }
    expect(share(0)).toBe(3500)
    expect(share(6)).toBe(6000)
    expect(share(255)).toBe(7000)
  })

  it('high traffic without a low packet waiting uses up nothing', () => {
    const arbiter = new VlArbiter({ high: [[1, 64]], low: [[0, 64]], highLimit: 1 })
    const heads = new Int32Array(VL_COUNT)
    heads[1] = 4096
    for (let i = 0; i < 100; i++) expect(arbiter.pick(heads)).toBe(1)
    heads[0] = 4096
    expect([1, 2, 3, 4].map(() => arbiter.pick(heads))).toEqual([1, 0, 1, 0])
  })

  it('serves a lane that stands in both tables, never one with weight 0, and refuses nonsense', () => {
    const tables = { high: [[1, 1]], low: [[1, 1], [0, 1], [2, 0]], highLimit: 0 } as const // biome-ignore format: pairs
    expect(served(tables, { 0: 64, 1: 64, 2: 64 }, 400).slice(0, 3)).toEqual([64 * 100, 64 * 300, 0])
    expect(new VlArbiter(tables).serves(2)).toBe(false)
    for (const wrong of [
      { high: [[15, 1]], low: [], highLimit: 0 },
      { high: [], low: [[0, 256]], highLimit: 0 },
      { high: [], low: [], highLimit: 256 },
    ] as const)
      expect(() => new VlArbiter(wrong)).toThrow(FaultlaneError)
  })

  it('always picks a lane that has a packet, when a served one has', () => {
    const table = fc.array(fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 4 })), {
      minLength: 1,
      maxLength: 6,
    })
    const heads = fc.array(fc.constantFrom(0, 64, 2048), { minLength: 5, maxLength: 5 })
    fc.assert(
      fc.property(
        table,
        table,
        fc.constantFrom(0, 1, 255),
        fc.array(heads, { maxLength: 50 }),
        (h, l, limit, all) => {
          const arbiter = new VlArbiter({ high: h, low: l, highLimit: limit })
          for (const five of all) {
            const head = Int32Array.from({ length: VL_COUNT }, (_, vl) => five[vl] ?? 0)
            const canServe = five.some((bytes, vl) => bytes > 0 && arbiter.serves(vl))
            const vl = arbiter.pick(head)
            expect(vl >= 0).toBe(canServe)
            if (vl >= 0) expect(head[vl]).toBeGreaterThan(0)
          }
        },
      ),
      { seed: 3 },
    )
  })
})
