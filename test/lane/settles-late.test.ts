/** A placed page is told in the page table after the toucher's next fault has been sent on, and by whatever comes first that asks. */
import { describe, expect, it } from 'vitest'
import { PAGE } from '../../src/memory/page-table.ts'
import { COMPLETION } from '../../src/transport/transport.ts'
import { DemandBench, PAGES } from './demand-bench.ts'

describe('a lane that settles late', () => {
  const make = () => new DemandBench({ settlesLate: true })

  it('sends the next fault on first, and has settled when the turn ends', () => {
    const bench = make()
    bench.fault(1)
    bench.prepareAnswer(1)
    bench.events.push(2)
    const seen: unknown[] = []
    bench.onFlush = () => seen.push(bench.pagesAsked, bench.table.state(1))
    bench.turn()
    expect(seen).toEqual([[2], PAGE.DEMANDED])
    expect(bench.table.state(1)).toBe(PAGE.PRESENT)
    expect(bench.board.remaining()).toBe(PAGES - 1)
    expect(bench.stalls.snapshot().count).toBe(1)
  })

  it('counts a page as come when its removal is read in the same turn', () => {
    const bench = make()
    bench.fault(1)
    bench.prepareAnswer(1)
    bench.events.push(-1)
    bench.turn()
    expect(bench.table.state(1)).toBe(PAGE.REMOVED)
    expect(bench.counters.snapshot()).toMatchObject({ demanded: 1, removed: 1 })
    expect(bench.board.remaining()).toBe(PAGES - 1)
  })

  it('wakes who faults on it in the same turn, and does not let it wait for a reply that has come', () => {
    const bench = make()
    bench.fault(1)
    bench.prepareAnswer(1)
    bench.events.push(1)
    bench.turn()
    expect(bench.woken).toEqual([1])
    expect(bench.counters.snapshot()).toMatchObject({ demanded: 1, spurious: 1, joined: 0 })
  })

  it('does not ask again for what came before the channel ended', () => {
    const bench = make()
    bench.fault(1)
    bench.fault(2)
    bench.prepareAnswer(1)
    bench.isBreaking = true
    expect(() => bench.turn()).toThrow('the channel has ended')
    bench.lane.reclaimReads()
    expect(bench.table.state(1)).toBe(PAGE.PRESENT)
    expect(bench.board.remaining()).toBe(PAGES - 1)
    bench.isBreaking = false
    bench.asked.length = 0
    bench.lane.replaceChannel(bench.channel)
    bench.turn()
    expect(bench.pagesAsked).toEqual([2])
  })

  it('settles at once what another’s poll delivers: no turn need follow', () => {
    const bench = make()
    bench.fault(1)
    const [workId, page] = bench.asked[0] as [number, number]
    bench.lane.onCompletion(workId, page, 1, COMPLETION.CONTENT, 1 << 20)
    expect(bench.table.state(1)).toBe(PAGE.PRESENT)
    expect(bench.board.remaining()).toBe(PAGES - 1)
    // Nor after a channel that ended while this lane polled.
    bench.fault(2)
    bench.isBreaking = true
    expect(() => bench.turn()).toThrow()
    bench.lane.reclaimReads()
    bench.isBreaking = false
    bench.asked.length = 0
    bench.lane.replaceChannel(bench.channel)
    bench.turn()
    const [again] = bench.asked[0] as [number, number]
    bench.lane.onCompletion(again, 2, 1, COMPLETION.CONTENT, 1 << 20)
    expect(bench.board.remaining()).toBe(PAGES - 2)
  })
})
