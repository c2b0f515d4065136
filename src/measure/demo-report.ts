/** What the demo came to: the table, the sentence under it, and whether every byte was right. All from the figures. */
import { cpus } from 'node:os'
import { STALL_NS_MIN } from '../report/stall-figures.ts'
import { formatCount, formatUs, type TableLine, textTable, threeDigits } from '../report/text-table.ts'
import {
  type DemoResult,
  type DemoRun,
  PREFAULT_WAYS,
  type PrefaultWay,
  WORKLOADS,
  type Workload,
} from './demo.ts'

export interface DemoRatios {
  /** p50 and p99 of the stalls, and their sum, ÷ those of the same workload without prefault. */
  readonly p50: number | null
  readonly p99: number | null
  readonly sum: number | null
}

export interface DemoReport extends DemoResult {
  readonly image_bytes: number
  readonly vcpus: number
  readonly think_us: number
  readonly wait: string
  /** The emulated link; null: loopback. */
  readonly link: string | null
  readonly node: string
  readonly cpu: string
  /** Each way to prefault ÷ prefault off, by workload. */
  readonly ratios: Record<Workload, Record<Exclude<PrefaultWay, 'off'>, DemoRatios>>
  readonly conclusion: string
  /** Every page that came was compared with the pattern, byte by byte, and all were right. */
  readonly every_byte_checked: boolean
}

export type DemoContext = Pick<DemoReport, 'image_bytes' | 'vcpus' | 'think_us' | 'wait' | 'link' | 'node'>

export function demoReport(result: DemoResult, context: DemoContext): DemoReport {
  const ratios = Object.fromEntries(
    WORKLOADS.map((workload) => {
      const off = runOf(result, workload, 'off')
      const against = (way: PrefaultWay) => ratiosOf(runOf(result, workload, way), off)
      return [workload, { shared: against('shared'), 'own-lane': against('own-lane') }]
    }),
  ) as DemoReport['ratios']
  return {
    ...result,
    ...context,
    cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
    ratios,
    conclusion: conclusion(result, ratios),
    every_byte_checked: result.runs.every(isChecked),
  }
}

function runOf({ runs }: DemoResult, workload: Workload, prefault: PrefaultWay): DemoRun {
  return runs.find((run) => run.workload === workload && run.prefault === prefault) as DemoRun
}

function ratiosOf(run: DemoRun, off: DemoRun): DemoRatios {
  const ratio = (a: number, b: number) => (b > 0 ? Number((a / b).toFixed(3)) : null)
  const [ours, theirs] = [run.stalls, off.stalls]
  return {
    p50: ratio(ours.p50_us, theirs.p50_us),
    p99: ratio(ours.p99_us, theirs.p99_us),
    sum: ratio(ours.sum_ms, theirs.sum_ms),
  }
}

/** All that came was checked and right: the whole memory when it is complete, what was touched otherwise. */
function isChecked(run: DemoRun): boolean {
  const expected = run.all_here_ms === null ? run.pages_touched : run.pages_total
  return run.pages_corrupt === 0 && run.pages_checked === expected
}

export function demoTable(report: DemoReport): string {
  const naive =
    report.over === 'lazy' ? 'on, a second connection, unrestrained' : 'on, same connection as demand (naive)'
  const names: Record<PrefaultWay, string> = {
    off: 'off',
    shared: naive,
    'own-lane': 'on, its own lane (Faultlane)',
  }
  const heading = ['prefault', 'stalls', 'p50', 'p99', 'max', 'sum', 'all memory here', 'pages sent ÷ unique']
  const lines = WORKLOADS.flatMap((workload): TableLine[] => {
    const [first] = report.runs.filter((run) => run.workload === workload)
    const { pages_touched, pages_total } = first as DemoRun
    const touched = pages_touched === pages_total ? 'all' : `${formatCount(pages_touched)} of the`
    const rows = PREFAULT_WAYS.map((way) => {
      const run = runOf(report, workload, way)
      const { count, p50_us, p99_us, max_us, sum_ms } = run.stalls
      const here =
        run.all_here_ms === null
          ? `never (${percent(run.pages_unique / run.pages_total)} came)`
          : `after ${formatUs(run.all_here_ms * 1000)}`
      const sent = run.pages_unique > 0 ? (run.pages_sent / run.pages_unique).toFixed(2) : '–'
      const durations = [p50_us, p99_us, max_us, sum_ms * 1000].map(formatUs)
      return [`  ${names[way]}`, formatCount(count), ...durations, here, sent]
    })
    return [`${workload} touches: ${touched} ${formatCount(pages_total)} pages`, ...rows]
  })
  return textTable(heading, lines)
}

export function demoPreface(report: DemoReport): string {
  const { image_bytes, vcpus, think_us, over, refusal, cpu, node, wait, link } = report
  const how =
    over === 'lazy'
      ? 'LazyMemory, no userfaultfd: reads of the client that stand still'
      : `real page faults (userfaultfd, ${over === 'user-mode-only' ? 'user-mode only: no privilege needed' : over})`
  return [
    `A client starts here while its ${image_bytes / 2 ** 20} MiB of memory are still in a source process; it touches pages that are not here`,
    `yet, and stands still (stalls) until they come over TCP. ${vcpus} vCPU thread${vcpus === 1 ? '' : 's'}, ${think_us} µs between touches; ${how}.`,
    ...(refusal === undefined ? [] : [`Not over userfaultfd: ${refusal}.`]),
    ...slowTouches(report),
    `${link === null ? 'Loopback' : `A link of ${link}, emulated in the source`}, wait ${wait}, ${cpu}, Node ${node}.`,
  ].join('\n')
}

/** Where the machine makes even a touch of a page that is there slow, what is taken for a stall says so. */
function slowTouches({ runs }: DemoReport): string[] {
  const lineUs = Math.max(...runs.map((run) => run.stalls.line_us))
  if (lineUs <= STALL_NS_MIN / 1000) return []
  return [
    `On this machine the first touch of a page that has come takes some µs by itself: up to ${lineUs.toFixed(0)} µs a touch is no stall.`,
  ]
}

export function demoVerdict(report: DemoReport): string {
  const checked = report.runs.reduce((sum, run) => sum + run.pages_checked, 0)
  const corrupt = report.runs.reduce((sum, run) => sum + run.pages_corrupt, 0)
  const bytes = report.every_byte_checked
    ? `Every byte was checked: ${formatCount(checked)} pages, none wrong.`
    : `WRONG: of ${formatCount(checked)} pages checked ${formatCount(corrupt)} held wrong bytes, or pages that came were not checked.`
  return `${report.conclusion}\n${bytes}`
}

/** A ratio within this of another is the same: two runs of one kind differ by as much. */
const SAME = 1.1

/** One sentence, made from the figures, whichever way they point. */
function conclusion(result: DemoResult, ratios: DemoReport['ratios']): string {
  const { shared, 'own-lane': own } = ratios.random
  const times = (ratio: number | null) => (ratio === null ? 'no multiple' : `${threeDigits(ratio)} ×`)
  const stood = (way: PrefaultWay) => formatUs(runOf(result, 'random', way).stalls.sum_ms * 1000)
  const here = (way: PrefaultWay) => {
    const ms = runOf(result, 'random', way).all_here_ms
    return ms === null ? 'never' : formatUs(ms * 1000)
  }
  const naive = result.over === 'lazy' ? 'without restraint' : 'on the demand connection'
  return (
    `${claim(shared, own)}: with random touches the p99 stall was ${times(shared.p99)} that without prefault (p50 ${times(shared.p50)}) when ` +
    `prefault ran ${naive}, and ${times(own.p99)} (p50 ${times(own.p50)}) when it had a lane of its own; in all the threads stood still for ` +
    `${stood('off')} without prefault, ${stood('shared')} and ${stood('own-lane')}, and all memory was here after ${here('shared')} and ${here('own-lane')}.`
  )
}

/** Nothing is claimed for the lane of its own unless both count: how long the longest stalls were, and all together. */
function claim(shared: DemoRatios, own: DemoRatios): string {
  const verdicts = [compare(own.p99, shared.p99), compare(own.sum, shared.sum)]
  if (verdicts.includes('unknown')) return 'This run shows nothing, for lack of stalls to compare with'
  const isNeverMore = !verdicts.includes('more')
  if (isNeverMore && verdicts.includes('less')) {
    return (own.p99 ?? Infinity) <= SAME
      ? 'Prefault on a lane of its own did not delay the faults that it ran beside'
      : 'Prefault on a lane of its own delayed the faults that it ran beside less than the naive way'
  }
  if (isNeverMore) return 'In this run it made no difference whether prefault had a lane of its own'
  return verdicts.includes('less')
    ? 'In this run a lane of its own made the longest stalls or all together shorter, but not both'
    : 'In this run prefault delayed faults more on a lane of its own than in the naive way'
}

function compare(ours: number | null, theirs: number | null): 'less' | 'same' | 'more' | 'unknown' {
  if (ours === null || theirs === null) return 'unknown'
  if (ours * SAME < theirs) return 'less'
  return ours > theirs * SAME ? 'more' : 'same'
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`
}
