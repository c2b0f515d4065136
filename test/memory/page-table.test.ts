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
