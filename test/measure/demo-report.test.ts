import { describe, expect, it } from 'vitest'
import { type DemoResult, type DemoRun, PREFAULT_WAYS, WORKLOADS } from '../../src/measure/demo.ts'
import { demoPreface, demoReport, demoTable, demoVerdict } from '../../src/measure/demo-report.ts'

const context = {
  image_bytes: 64 * 2 ** 20,
  vcpus: 2,
  think_us: 20,
  wait: 'adaptive',
  link: null,
  node: 'v20',
}

/** Six runs whose random stalls have these p99s, by way of prefault. */
function result(p99: Record<DemoRun['prefault'], number>, change: Partial<DemoRun> = {}): DemoResult {
  const runs = WORKLOADS.flatMap((workload) =>
    PREFAULT_WAYS.map((prefault): DemoRun => {
      const us = p99[prefault]
      return {
        workload,
        prefault,
        scheduling: 'S2',
        pages_total: 1000,
        pages_touched: workload === 'random' ? 300 : 1000,
        stalls: {
          ...{ touches: 300, line_us: 2, count: 200, first_us: us, p50_us: us / 2, p90_us: us },
          ...{ p99_us: us, p999_us: us, max_us: us, sum_ms: us / 10 },
        },
        all_here_ms: prefault === 'off' && workload === 'random' ? null : 500,
        pages_sent: prefault === 'off' && workload === 'random' ? 300 : 1000,
        pages_unique: prefault === 'off' && workload === 'random' ? 300 : 1000,
        pages_checked: prefault === 'off' && workload === 'random' ? 300 : 1000,
        pages_corrupt: 0,
        ...change,
      }
    }),
  )
  return { over: 'user-mode-only', refusal: undefined, runs }
}

describe('the report of the demo', () => {
  it('says what the figures say, whichever way they point', () => {
    const says = (p99: Record<DemoRun['prefault'], number>) => demoReport(result(p99), context).conclusion
    expect(says({ off: 100, shared: 900, 'own-lane': 105 })).toMatch(
      /^Prefault on a lane of its own did not delay.*9\.00 × that.*1\.05 × \(p50/,
    )
    expect(says({ off: 100, shared: 900, 'own-lane': 150 })).toMatch(
      /^Prefault on .* less than the naive way/,
    )
    expect(says({ off: 100, shared: 320, 'own-lane': 308 })).toMatch(/^In this run it made no difference/)
    const worse = demoReport(result({ off: 100, shared: 200, 'own-lane': 300 }), context)
    expect(worse.conclusion).toMatch(/^In this run prefault delayed faults more on a lane of its own/)
    expect(worse.ratios.random).toEqual({
      shared: { p50: 2, p99: 2, sum: 2 },
      'own-lane': { p50: 3, p99: 3, sum: 3 },
    })
  })

  it('names the road that the pages took, and says when it was emulated', () => {
    const run = result({ off: 100, shared: 900, 'own-lane': 150 })
    expect(demoPreface(demoReport(run, context))).toMatch(/^Loopback, wait adaptive/m)
    const preface = demoPreface(demoReport(run, { ...context, link: '1gbit/200us' }))
    expect(preface).toMatch(/^A link of 1gbit\/200us, emulated in the source, wait adaptive/m)
    expect(preface).not.toContain('Loopback')
  })

  it('claims nothing for short tails that were paid for with more standing still, and tells all three sums', () => {
    const { runs, ...rest } = result({ off: 100, shared: 900, 'own-lane': 150 })
    const sums = { off: 5640, shared: 1250, 'own-lane': 6660 }
    const paid = runs.map((run) => ({ ...run, stalls: { ...run.stalls, sum_ms: sums[run.prefault] } }))
    const { conclusion } = demoReport({ ...rest, runs: paid }, context)
    expect(conclusion).toMatch(/^In this run a lane of its own made .* but not both/)
    expect(conclusion).toContain('5.64 s without prefault, 1.25 s and 6.66 s')
  })

  it('has no ratio where nobody stood still without prefault', () => {
    const report = demoReport(result({ off: 0, shared: 200, 'own-lane': 100 }), context)
    expect(report.ratios.random.shared).toEqual({ p50: null, p99: null, sum: null })
    expect(report.conclusion).toMatch(/^This run shows nothing.*no multiple/)
  })

  it('shows each run, how much was touched, and what never came', () => {
    const table = demoTable(demoReport(result({ off: 100, shared: 900, 'own-lane': 105 }), context))
    expect(table).toContain('random touches: 300 of the 1,000 pages')
    expect(table).toContain('sequential touches: all 1,000 pages')
    expect(table.match(/never \(30 % came\)/g)).toHaveLength(1)
    expect(table.match(/after 500 ms/g)).toHaveLength(5)
    expect(table.match(/ 1\.00$/gm)).toHaveLength(6)
  })

  it('is not satisfied with a wrong page, nor with one that nobody checked', () => {
    const p99 = { off: 100, shared: 900, 'own-lane': 105 }
    expect(demoReport(result(p99), context).every_byte_checked).toBe(true)
    for (const change of [{ pages_corrupt: 1 }, { pages_checked: 299 }]) {
      const report = demoReport(result(p99, change), context)
      expect(report.every_byte_checked).toBe(false)
      expect(demoVerdict(report)).toContain('WRONG')
    }
  })

  it('says why it does without userfaultfd, and what would be needed', () => {
    const refused = {
      ...result({ off: 1, shared: 1, 'own-lane': 1 }),
      over: 'lazy',
      refusal: 'no; run as root',
    } as const
    expect(demoPreface(demoReport(refused, context))).toContain('Not over userfaultfd: no; run as root.')
  })

  it('says what it takes for a stall where first touches are slow, and nothing where they are not', () => {
    const { runs, ...rest } = result({ off: 100, shared: 900, 'own-lane': 105 })
    expect(demoPreface(demoReport({ ...rest, runs }, context))).not.toContain('no stall')
    const slow = runs.map((run, i) => ({ ...run, stalls: { ...run.stalls, line_us: i === 2 ? 14.4 : 13 } }))
    expect(demoPreface(demoReport({ ...rest, runs: slow }, context))).toContain(
      'up to 14 µs a touch is no stall',
    )
  })
})
