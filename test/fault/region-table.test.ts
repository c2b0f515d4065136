import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NO_PAGE, REGION_TABLE_WORDS, type RegionEntry, RegionTable } from '../../src/fault/region-table.ts'

interface Region {
  base: bigint
  firstPage: number
  pageCount: number
}

/** Regions that overlap nowhere, up to the last byte of 64 bits. */
const tables = fc
  .record({
    pageBytes: fc.constantFrom(4096, 2 << 20, 1 << 30),
    spans: fc.array(
      fc.record({ pages: fc.integer({ min: 1, max: 5000 }), gap: fc.nat(5000), imageGap: fc.nat(100) }),
      { minLength: 1, maxLength: 20 },
    ),
    top: fc.boolean(),
  })
  .map(({ pageBytes, spans, top }) => {
    let end = top ? 1n << 64n : 0x7f00_0000_0000n
    let firstPage = 0
    const regions = spans.map(({ pages, gap, imageGap }): Region => {
      end -= BigInt(pages) * BigInt(pageBytes)
      const region = { base: end, firstPage, pageCount: pages }
      end -= BigInt(gap) * BigInt(pageBytes)
      firstPage += pages + imageGap
      return region
    })
    return { pageBytes, regions: regions.filter((region) => region.base >= 0n) }
  })
  .filter(({ regions }) => regions.length > 0)

function build(pageBytes: number, regions: readonly Region[]): RegionTable {
  const table = new RegionTable(new Int32Array(REGION_TABLE_WORDS + 8), 8)
  table.set(pageBytes, entries(regions))
  return table
}

function entries(regions: readonly Region[]): RegionEntry[] {
  return regions.map(({ base, firstPage, pageCount }) => {
    return { baseHi: Number(base >> 32n), baseLo: Number(base & 0xffffffffn), firstPage, pageCount }
  })
}

describe('RegionTable', () => {
  it('agrees with arithmetic on whole 64-bit numbers, both ways', () => {
    fc.assert(
      fc.property(
        tables,
        fc.array(fc.record({ pick: fc.nat(), offset: fc.nat() }), { minLength: 1 }),
        (t, picks) => {
          const table = build(t.pageBytes, t.regions)
          for (const { pick, offset } of picks) {
            const region = t.regions[pick % t.regions.length]!
            const index = offset % region.pageCount
            const page = region.firstPage + index
            const address = region.base + BigInt(index) * BigInt(t.pageBytes)
            expect(table.locate(page)).toBe(true)
            expect((BigInt(table.hi) << 32n) + BigInt(table.lo)).toBe(address)
            expect(table.pagesLeft).toBe(region.pageCount - index)
            const inside = address + BigInt(offset % t.pageBytes)
            expect(table.pageAt(Number(inside >> 32n), Number(inside & 0xffffffffn))).toBe(page)
          }
        },
      ),
    )
  })

  it('knows what no region covers, right beside each', () => {
    fc.assert(
      fc.property(tables, (t) => {
        const table = build(t.pageBytes, t.regions)
        const covers = (address: bigint) =>
          t.regions.some(
            (r) => address >= r.base && address < r.base + BigInt(r.pageCount) * BigInt(t.pageBytes),
          )
        for (const { base, pageCount, firstPage } of t.regions) {
          for (const address of [base - 1n, base + BigInt(pageCount) * BigInt(t.pageBytes)]) {
            if (address < 0n || address >= 1n << 64n || covers(address)) continue
            expect(table.pageAt(Number(address >> 32n), Number(address & 0xffffffffn))).toBe(NO_PAGE)
          }
          const after = firstPage + pageCount
          const next = t.regions.some((r) => after >= r.firstPage && after < r.firstPage + r.pageCount)
          expect(table.locate(after)).toBe(next)
        }
      }),
    )
  })

  it('forgets the client before, in every thread: what one remembers of it is nobody else’s address', () => {
    fc.assert(
      fc.property(tables, tables, fc.nat(), (before, after, pick) => {
        const words = new Int32Array(new SharedArrayBuffer(REGION_TABLE_WORDS * 4))
        const [writer, reader] = [new RegionTable(words, 0), new RegionTable(words, 0)]
        writer.set(before.pageBytes, entries(before.regions))
        const remembered = before.regions[pick % before.regions.length]!
        expect(reader.locate(remembered.firstPage)).toBe(true)
        writer.set(after.pageBytes, entries(after.regions))
        // The page that the reader looked up last, as somebody who never knew the first client sees it.
        const fresh = new RegionTable(words, 0)
        for (const page of [remembered.firstPage, remembered.firstPage + remembered.pageCount - 1]) {
          expect(reader.locate(page)).toBe(fresh.locate(page))
          if (!fresh.locate(page)) continue
          expect([reader.hi, reader.lo, reader.pagesLeft]).toEqual([fresh.hi, fresh.lo, fresh.pagesLeft])
        }
      }),
    )
  })

  it('is empty when it is new, and after a smaller set', () => {
    const table = build(4096, [
      { base: 0x1000n, firstPage: 0, pageCount: 1 },
      { base: 0x9000n, firstPage: 1, pageCount: 1 },
    ])
    expect(table.locate(1)).toBe(true)
    table.set(4096, [{ baseHi: 0, baseLo: 0x1000, firstPage: 0, pageCount: 1 }])
    expect(table.locate(1)).toBe(false)
    expect(table.pageAt(0, 0x9000)).toBe(NO_PAGE)
    const fresh = new RegionTable(new Int32Array(REGION_TABLE_WORDS), 0)
    expect(fresh.locate(0)).toBe(false)
    expect(fresh.pageAt(0, 0)).toBe(NO_PAGE)
  })
})
