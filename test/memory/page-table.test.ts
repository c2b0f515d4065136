import { Worker } from 'node:worker_threads'
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

it('gives a page to one thread, whether it is asked for alone or in a word of four', {
  timeout: 30_000,
}, async () => {
  const pageCount = 4096 + 3
  const table = PageTable.allocate(pageCount)
  const claimed = new Int32Array(new SharedArrayBuffer(pageCount * 4))
  const control = new Int32Array(new SharedArrayBuffer(8)) // Round, and rounds the other has ended.
  const url = new URL('../../dist/memory/page-table.js', import.meta.url).href
  const other = new Worker(
    `const { buffer, claimed, control, pageCount } = require('node:worker_threads').workerData
     import(${JSON.stringify(url)}).then(({ PAGE, PageTable }) => {
       const table = new PageTable(buffer, pageCount)
       for (let round = 1; ; round++) {
         Atomics.wait(control, 0, round - 1)
         if (Atomics.load(control, 0) < 0) return
         for (let page = pageCount - 1; page >= 0; page--)
           if (table.tryMove(page, PAGE.MISSING, PAGE.DEMANDED)) Atomics.add(claimed, page, 1)
         Atomics.store(control, 1, round)
       }
     })`,
    { eval: true, workerData: { buffer: table.buffer, claimed, control, pageCount } },
  )
  const ended = new Promise((resolve) => other.once('exit', resolve))
  let [alone, inRuns] = [0, 0]
  for (let round = 1; round <= 300; round++) {
    table.reset(0, pageCount, PAGE.MISSING)
    claimed.fill(0)
    Atomics.store(control, 0, round)
    Atomics.notify(control, 0)
    for (let page = 0; page < pageCount; ) {
      const run = table.moveRun(page, 64, PAGE.MISSING, PAGE.PREFAULTING)
      for (let i = 0; i < run; i++) Atomics.add(claimed, page + i, 1)
      inRuns += run
      page += Math.max(1, run)
    }
    while (Atomics.load(control, 1) < round) await new Promise((resolve) => setImmediate(resolve))
    expect(claimed.every((times) => times === 1)).toBe(true)
    alone += table.count(PAGE.DEMANDED)
    expect(table.count(PAGE.DEMANDED) + table.count(PAGE.PREFAULTING)).toBe(pageCount)
  }
  expect(alone + inRuns).toBe(300 * pageCount)
  expect(Math.min(alone, inRuns)).toBeGreaterThan(0)
  Atomics.store(control, 0, -1)
  Atomics.notify(control, 0)
  await ended
})
