import fc from 'fast-check'
import { expect, it } from 'vitest'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'

const PAGES = 60

it('is missing where data may be, zero in holes, and untouched elsewhere', () => {
  const range = fc
    .record({ first: fc.nat(PAGES), end: fc.nat(PAGES) })
    .map(({ first, end }) => (first < end ? [first, end] : [end, first]) as [number, number])
  const hasData = fc.array(fc.boolean(), { minLength: PAGES, maxLength: PAGES })
  fc.assert(
    fc.property(range, hasData, ([first, end], data) => {
      const runs: number[] = []
      for (let page = 0; page < PAGES; page++) {
        if (!data[page]) continue
        if (data[page - 1]) runs[runs.length - 1]!++
        else runs.push(page, 1)
      }
      const table = PageTable.allocate(PAGES)
      const zero = table.resetToImage(first, end - first, Uint32Array.from(runs))
      const states = data.map((isData, page) =>
        page < first || page >= end ? PAGE.OUTSIDE : isData ? PAGE.MISSING : PAGE.ZERO,
      )
      expect(states.map((_, page) => table.state(page))).toEqual(states)
      expect(zero).toBe(table.count(PAGE.ZERO))
    }),
  )
})

it('is missing altogether where the holes are not known', () => {
  const table = PageTable.allocate(PAGES)
  expect(table.resetToImage(3, 5, null)).toBe(0)
  expect([PAGE.OUTSIDE, PAGE.MISSING].map((state) => table.count(state))).toEqual([PAGES - 5, 5])
})

it('lets a page move along the arrows alone, once', () => {
  const table = PageTable.allocate(1)
  table.reset(0, 1, PAGE.MISSING)
  expect(table.tryMove(0, PAGE.MISSING, PAGE.DEMANDED)).toBe(true)
  expect(table.tryMove(0, PAGE.MISSING, PAGE.PREFAULTING)).toBe(false)
  expect(() => table.tryMove(0, PAGE.PRESENT, PAGE.MISSING)).toThrow('no transition 5 → 1')
})

it('moves a run as it moves its pages one by one, and no page beyond', () => {
  const states = [PAGE.MISSING, PAGE.PREFAULTING, PAGE.PRESENT]
  const held = fc.array(fc.constantFrom(...states, PAGE.MISSING, PAGE.MISSING), {
    minLength: 1,
    maxLength: 23,
  })
  fc.assert(
    fc.property(held, fc.nat(24), fc.nat(24), (pages, first, most) => {
      const [table, other] = [PageTable.allocate(pages.length), PageTable.allocate(pages.length)]
      for (const each of [table, other])
        for (const [page, state] of pages.entries()) each.reset(page, 1, state)
      const start = Math.min(first, pages.length - 1)
      let moved = 0
      while (moved < most && start + moved < pages.length) {
        if (!other.tryMove(start + moved, PAGE.MISSING, PAGE.PREFAULTING)) break
        moved++
      }
      expect(table.run(PAGE.MISSING, start, most)).toBe(moved)
      expect(table.moveRun(start, most, PAGE.MISSING, PAGE.PREFAULTING)).toBe(moved)
      expect(pages.map((_, page) => table.state(page))).toEqual(pages.map((_, page) => other.state(page)))
    }),
  )
  expect(() => PageTable.allocate(4).moveRun(0, 4, PAGE.PRESENT, PAGE.MISSING)).toThrow('no transition 5 → 1')
})
