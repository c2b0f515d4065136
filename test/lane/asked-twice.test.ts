/** Level `promotion` off: pages that prefault has in flight are asked for again on the demand lane, placed once, and counted apart. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PAGE } from '../../src/memory/page-table.ts'
import { COMPLETION } from '../../src/transport/transport.ts'
import { DemandBench, PAGES } from './demand-bench.ts'

describe('a promoted page', () => {
  it('is waited for, and without promotion asked for at once', () => {
    for (const [asksTwice, asked] of [
      [false, []],
      [true, [7]],
    ] as const) {
      const bench = new DemandBench({ asksTwice })
      bench.prefaultAsks(7)
      bench.fault(7)
      expect(bench.pagesAsked).toEqual(asked)
      expect(bench.hedged).toBe(asked.length)
      expect(bench.table.state(7)).toBe(PAGE.PROMOTED)
    }
  })

  it('whose second copy comes first is placed, and its stall told, once', () => {
    const bench = new DemandBench({ asksTwice: true })
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.fault(7) // Another thread: nobody asks a third time.
    expect(bench.pagesAsked).toEqual([7])
    bench.answer(7)
    expect([bench.placed, bench.table.state(7), bench.hedged]).toEqual([[7], PAGE.PRESENT, 1])
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.board.remaining()).toBe(PAGES - 1)
    expect(bench.stalls.snapshot().count).toBe(1)
    expect(bench.lane.pending).toBe(0)
  })

  it('that comes before its second copy is not placed again', () => {
    const bench = new DemandBench({ asksTwice: true })
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.prefaultComes(7)
    bench.answer(7)
    expect(bench.placed).toEqual([])
    expect(bench.counters.snapshot()).toMatchObject({ demanded: 0, hedged: 1, duplicate: 0 })
    expect(bench.board.remaining()).toBe(PAGES - 1)
    expect(bench.lane.pending).toBe(0)
  })

  it('whose second copy cannot be read is still prefault’s', () => {
    const bench = new DemandBench({ asksTwice: true })
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.answer(7, COMPLETION.ERROR)
    expect(bench.table.state(7)).toBe(PAGE.PROMOTED)
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.counters.snapshot()).toMatchObject({ errors: 0, hedged: 1 })
    expect(bench.lane.pending).toBe(0)
  })

  it('is not asked for a third time when the demand channel breaks', () => {
    const bench = new DemandBench({ asksTwice: true })
    bench.prefaultAsks(7)
    bench.fault(7)
    bench.lane.reclaimReads()
    expect(bench.lane.pending).toBe(1) // It waits for prefault alone.
    bench.prefaultComes(7)
    bench.turn()
    expect(bench.lane.pending).toBe(0)
  })
})

describe('second requests', () => {
  it('end every page once, in whatever order the copies come', () => {
    const step = fc.record({
      page: fc.nat(15),
      what: fc.constantFrom('fault', 'prefault', 'answer', 'comes', 'cut'),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const bench = new DemandBench({ asksTwice: true })
        const owed = new Set<number>() // What prefault has in flight.
        for (const { page, what } of steps) {
          if (what === 'fault') bench.fault(page)
          if (what === 'prefault' && bench.table.state(page) === PAGE.MISSING) {
            bench.prefaultAsks(page)
            owed.add(page)
          }
          if (what === 'answer' && bench.pagesAsked.includes(page)) bench.answer(page)
          if (what === 'comes' && owed.delete(page)) bench.prefaultComes(page)
          if (what === 'cut') {
            bench.asked.splice(0)
            bench.lane.reclaimReads()
            bench.lane.replaceChannel(bench.channel)
          }
        }
        for (const page of owed) bench.prefaultComes(page)
        for (bench.turn(); bench.asked.length > 0; ) bench.answer(bench.pagesAsked[0] as number)
        bench.turn()
        expect(bench.lane.pending).toBe(0)
        expect(bench.board.remaining()).toBe(PAGES - bench.table.count(PAGE.PRESENT))
        expect(new Set(bench.placed).size).toBe(bench.placed.length)
      }),
    )
  })
})
