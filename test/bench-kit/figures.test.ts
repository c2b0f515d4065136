import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { worthOf } from '../../src/bench-kit/ablation.ts'
import { type CellFigures, median, promotedBoundUs } from '../../src/bench-kit/isolation.ts'
import { isolationPicture } from '../../src/bench-kit/isolation-picture.ts'
import { promotedTable } from '../../src/bench-kit/isolation-table.ts'
import { parseLinkSpec } from '../../src/bench-kit/link-spec.ts'
import { imageBytesFor } from '../../src/bench-kit/links.ts'
import { fitOf, pagesOf, type SweepCell } from '../../src/bench-kit/sweep.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'

const SWEEP_CELL: SweepCell = {
  rate: '1Gbit',
  rttUs: 0,
  order: 'random',
  offMs: 0,
  onMs: 0,
  ratio: 0,
  offStallMs: 0,
  offFaults: 0,
  onFaults: 0,
  promoted: 0,
  duplicate: 0,
  onP99Us: 0,
  sentPerUnique: 1,
  runs: 1,
}

describe('fitOf', () => {
  const cell = (rttUs: number, faults: number, stallMs: number): SweepCell => ({
    ...SWEEP_CELL,
    rttUs,
    offMs: stallMs,
    offStallMs: stallMs,
    offFaults: faults,
  })
  const rtts = [0, 50, 100, 200, 500, 1000, 6000, 25_000]

  it('finds the line that the stalls were made of', () => {
    const line = fc.record({ t0: fc.double({ min: 1, max: 500 }), k: fc.double({ min: 0.5, max: 2 }) })
    fc.assert(
      fc.property(
        line.filter(({ t0, k }) => Number.isFinite(t0 + k)),
        ({ t0, k }) => {
          const cells = rtts.map((rtt) => cell(rtt, 200, t0 + (k * rtt * 200) / 1000))
          const fit = fitOf('1Gbit', cells)
          expect(fit?.k).toBeCloseTo(k, 6)
          expect(fit?.t0Ms).toBeCloseTo(t0, 3)
          expect(fit?.r2).toBeCloseTo(1, 9)
        },
      ),
    )
  })

  it('says when the stalls are no line, and leaves other rates and orders out', () => {
    const bent = rtts.map((rtt, i) => cell(rtt, 200, i % 2 === 0 ? 5000 : 10))
    expect(fitOf('1Gbit', bent)?.r2).toBeLessThan(0.9)
    const good = rtts.map((rtt) => cell(rtt, 200, 10 + rtt / 5))
    const other = rtts.map((rtt) => ({ ...cell(rtt, 200, 7777), rate: '10Gbit' }))
    const sequential = rtts.map((rtt) => ({ ...cell(rtt, 200, 7777), order: 'sequential' as const }))
    expect(fitOf('1Gbit', [...good, ...other, ...sequential])?.k).toBeCloseTo(1, 9)
  })
})

describe('fitOf with one round trip', () => {
  it('has no line to find, however often that was measured', () => {
    const cells = [400, 399].map((faults) => ({ ...SWEEP_CELL, offFaults: faults, offStallMs: faults }))
    expect(fitOf('1Gbit', cells)).toBeUndefined()
    expect(fitOf('1Gbit', [])).toBeUndefined()
    const further = { ...SWEEP_CELL, rttUs: 1000, offStallMs: 800 }
    expect(fitOf('1Gbit', [...cells, further])).toBeDefined()
  })
})

describe('pagesOf', () => {
  it('names pages of the image, each once, the same for the same seed', () => {
    const some = fc.record({
      count: fc.integer({ min: 1, max: 300 }),
      seed: fc.integer({ min: 1, max: 1000 }),
    })
    fc.assert(
      fc.property(some, ({ count, seed }) => {
        const pages = pagesOf('random', count, 256, seed)
        expect(pages.length).toBe(Math.min(count, 256))
        expect(new Set(pages).size).toBe(pages.length)
        expect(Math.max(...pages)).toBeLessThan(256)
        expect(pagesOf('random', count, 256, seed)).toEqual(pages)
      }),
    )
    expect([...pagesOf('sequential', 4, 256, 1)]).toEqual([0, 1, 2, 3])
    expect(pagesOf('random', 256, 256, 1)).not.toEqual(pagesOf('sequential', 256, 256, 1))
  })
})

it('medians', () => {
  expect([median([]), median([3]), median([9, 1, 5]), median([4, 1, 3, 2])]).toEqual([0, 3, 5, 2.5])
})

describe('waits for what is in flight', () => {
  it('are held to one quantum at the link’s rate and one idle round trip', () => {
    expect(promotedBoundUs(125e6, 0, 61)).toBeCloseTo(262.144 + 61, 9)
    expect(promotedBoundUs(0, 1024, 61), 'loopback: what prefault alone moved').toBeCloseTo(32 + 61, 9)
    expect([promotedBoundUs(0, 0, 61), promotedBoundUs(125e6, 0, 0)]).toEqual([null, null])
  })

  it('are shown beside that, where there were any', () => {
    const waits = { promotedWaits: 7, promotedP50Us: 100, promotedP99Us: 293, promotedMaxUs: 400 }
    const cell = { link: 'netns', scheduling: 'S2', demand: 'walk', ...waits, promotedBoundUs: 586 }
    const none = { ...cell, demand: 'light', promotedWaits: 0, promotedP99Us: null }
    const figures = [none, cell] as unknown as CellFigures[]
    const [, , ...rows] = promotedTable({ figures, links: [], latencies: new Map() }).split('\n')
    expect(rows[0]!.split(/ +/)).toEqual(['netns', 'S2', 'walk', '7', '100', '293', '400', '586', '0.50'])
    expect(rows[1]).toBe('')
    expect(
      promotedTable({ figures: [none as unknown as CellFigures], links: [], latencies: new Map() }),
    ).toBe('')
  })
})

describe('links', () => {
  it('are read as they are named', () => {
    expect(parseLinkSpec('loopback')).toMatchObject({ kind: 'loopback', bytesPerSecond: 0 })
    expect(parseLinkSpec('netns')).toMatchObject({ kind: 'netns', bytesPerSecond: 125e6 })
    expect(parseLinkSpec('netns:100Mbit')).toMatchObject({ kind: 'netns', bytesPerSecond: 12.5e6 })
    expect(parseLinkSpec('10Gbit/6ms')).toMatchObject({
      kind: 'emulated',
      bytesPerSecond: 1.25e9,
      rttUs: 6000,
    })
    expect(() => parseLinkSpec('ethernet')).toThrow(/loopback, netns/)
  })
  it('get an image that prefault works on for seconds, within the memory of a small machine', () => {
    expect(imageBytesFor(parseLinkSpec('netns'))).toBe(512 * 2 ** 20)
    expect(imageBytesFor(parseLinkSpec('loopback'))).toBe(2 ** 31)
    expect(imageBytesFor(parseLinkSpec('netns:1Mbit'))).toBe(64 * 2 ** 20)
    expect(imageBytesFor(parseLinkSpec('100Gbit/0'))).toBe(2 ** 31)
  })
})

describe('isolationPicture', () => {
  it('draws every scheduling that has samples, slower further right and later higher', () => {
    const latency = (us: number) => {
      const histogram = new LatencyHistogram(LatencyHistogram.allocate())
      for (let i = 0; i < 1000; i++) histogram.record(us * 1000 * (1 + i / 1000))
      return histogram.snapshot()
    }
    const latencies = new Map([
      ['netns|off|light', latency(100)],
      ['netns|S0|light', latency(9000)],
      ['netns|S2|light', latency(120)],
      ['netns|S2|none', latency(1)],
    ])
    const svg = isolationPicture({ figures: [], links: [], latencies })
    const paths = [...svg.matchAll(/<path d="([^"]+)"[^>]*stroke="([^"]+)"/g)]
    expect(paths).toHaveLength(3)
    const points = paths.map(([, d]) =>
      [...d!.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]),
    )
    for (const line of points) {
      for (let i = 1; i < line.length; i++) {
        expect(line[i]![0]).toBeGreaterThanOrEqual(line[i - 1]![0]!)
        expect(line[i]![1]).toBeLessThanOrEqual(line[i - 1]![1]!)
      }
    }
    const right = (colour: string) =>
      points[paths.findIndex(([, , stroke]) => stroke === colour)]!.at(-1)![0]!
    expect(right('#d62728')).toBeGreaterThan(right('#1a7f37'))
    expect(svg).not.toMatch(/NaN|Infinity|undefined/)
  })
})

describe('worthOf', () => {
  const run = (p50: number, p99: number, rate: number) => ({ p50, p99, rate })
  const control = [1, 1.1, 1.2, 1, 1.1, 1.2].map((p50) => run(p50, 2 * p50, 1))
  const thrice = (p50: number, p99: number, rate: number) => [1, 2, 3].map(() => run(p50, p99, rate))

  it('tells what is beyond every run with all on, and in which direction', () => {
    expect(worthOf(thrice(1.1, 2.2, 1), control)).toBe('nothing that these runs show')
    expect(worthOf(thrice(2.5, 2.2, 1), control)).toBe('p50 2.50 without it, 1.10 with it')
    expect(worthOf(thrice(1.1, 1.5, 0.5), control)).toBe(
      'costs: p99 1.50 without it, 2.20 with it; prefault 0.50 without it, 1.00 with it',
    )
    expect(worthOf(thrice(1.1, 2.2, 1.5), control)).toBe('costs: prefault 1.50 without it, 1.00 with it')
  })

  it('tells nothing of less than a tenth, and nothing of fewer than three rounds', () => {
    expect(worthOf(thrice(1.205, 2.2, 1.05), control)).toBe('nothing that these runs show')
    expect(worthOf(thrice(9, 9, 9).slice(1), control)).toMatch(/fewer than 3 rounds/)
  })
})
