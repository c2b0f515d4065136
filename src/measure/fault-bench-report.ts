/** What `bench fault` came to: medians over the rounds, ratios of the same round, and the bars they are held to. */
import { cpus, release } from 'node:os'
import type { StallFigures } from '../report/stall-figures.ts'
import { formatCount, formatUs, textTable, threeDigits } from '../report/text-table.ts'
import type { WaitMode } from '../workers/wait.ts'
import {
  type FaultBenchOptions,
  type FaultBenchResult,
  peerWait,
  SETTLED_MS,
  type Series,
} from './fault-bench.ts'

export interface Measure {
  readonly name: string
  readonly value: number
  readonly unit: '×' | 'µs'
  readonly bar: { readonly atMost: number } | { readonly atLeast: number } | null
  readonly isMet: boolean | null
}

export interface FaultBenchReport {
  readonly machine: { readonly cpu: string; readonly kernel: string; readonly node: string }
  readonly configuration: Omit<FaultBenchOptions, 'faultlane' | 'onProgress'>
  readonly stalls: readonly (Omit<Series, 'rounds'> & {
    readonly median: StallFigures
    readonly rounds: readonly StallFigures[]
  })[]
  readonly prefault_mb_per_s: Record<
    'faultlane' | 'faultlane_at_once' | 'raw_tcp' | 'pagebase',
    number | null
  > | null
  readonly measures: readonly Measure[]
  readonly without_c: string | null
}

export function faultBenchReport(
  result: FaultBenchResult,
  options: FaultBenchOptions,
  node: string,
): FaultBenchReport {
  const { faultlane: _, onProgress: __, ...configuration } = options
  const { rates } = result
  return {
    machine: { cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`, kernel: release(), node },
    configuration,
    stalls: result.series.map((series) => ({ ...series, median: medianFigures(series.rounds) })),
    prefault_mb_per_s: rates && {
      faultlane: medianOrNull(rates.faultlane),
      faultlane_at_once: medianOrNull(rates.faultlane_at_once),
      raw_tcp: medianOrNull(rates.raw_tcp),
      pagebase: medianOrNull(rates.pagebase),
    },
    measures: [...stallMeasures(result, options.waits), ...rateMeasures(result)],
    without_c: result.without_c,
  }
}

function stallMeasures({ series }: FaultBenchResult, waits: readonly WaitMode[]): Measure[] {
  const of = (ends: Series['ends'], client: Series['client'], wait: WaitMode) =>
    series.find((s) => s.ends === ends && s.client === client && s.wait === wait)?.rounds
  return waits.flatMap((wait) => {
    const theirs = of('pagebase', 'pagebase', peerWait(wait))
    const ours = of('faultlane', 'pagebase', wait)
    const best = ours ?? of('faultlane', 'faultlane', wait) ?? []
    const measures: Measure[] = []
    if (ours && theirs) {
      const name = `stall p50, ${wait} ÷ pagebase ${peerWait(wait)}`
      measures.push(
        measure(name, ratio(ours, theirs, 'p50_us'), '×', { atMost: wait === 'adaptive' ? 0.6 : 1.15 }),
      )
      const tail = `stall p99, ${wait} ÷ pagebase ${peerWait(wait)}`
      measures.push(measure(tail, ratio(ours, theirs, 'p99_us'), '×', null))
    }
    measures.push(
      measure(`first stall, ${wait}`, median(best.map((f) => f.first_us)), 'µs', { atMost: 1000 }),
    )
    const tailBar = wait === 'adaptive' ? { atMost: 1500 } : null
    measures.push(measure(`stall p99.9, ${wait}`, median(best.map((f) => f.p999_us)), 'µs', tailBar))
    return measures
  })
}

function rateMeasures({ rates }: FaultBenchResult): Measure[] {
  if (!rates) return []
  const against = (theirs: readonly number[]) => median(rates.faultlane.map((rate, i) => rate / theirs[i]!))
  const measures = [
    measure('prefault rate, settled ÷ raw TCP stream', against(rates.raw_tcp), '×', { atLeast: 0.35 }),
  ]
  if (rates.pagebase.length > 0) {
    measures.push(
      measure('prefault rate, settled ÷ pagebase --prefault', against(rates.pagebase), '×', { atLeast: 2.5 }),
    )
  }
  return measures
}

function measure(name: string, value: number, unit: Measure['unit'], bar: Measure['bar']): Measure {
  const isMet = bar && ('atMost' in bar ? value <= bar.atMost : value >= bar.atLeast)
  return { name, value: Number(value.toFixed(3)), unit, bar, isMet }
}

function ratio(
  ours: readonly StallFigures[],
  theirs: readonly StallFigures[],
  key: 'p50_us' | 'p99_us',
): number {
  return median(ours.map((figures, round) => figures[key] / theirs[round]![key]))
}

function medianFigures(rounds: readonly StallFigures[]): StallFigures {
  const keys = Object.keys(rounds[0]!) as (keyof StallFigures)[]
  return Object.fromEntries(
    keys.map((key) => [key, median(rounds.map((figures) => figures[key]))]),
  ) as unknown as StallFigures
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length % 2 === 1) return sorted[middle]!
  return sorted.length === 0 ? Number.NaN : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function medianOrNull(values: readonly number[]): number | null {
  return values.length === 0 ? null : Number(median(values).toFixed(1))
}

export function faultBenchText(report: FaultBenchReport): string {
  const { machine, configuration: c, stalls, prefault_mb_per_s: rates, measures, without_c } = report
  const head =
    `touch to resume over TCP loopback, prefault off: ${formatCount(c.touches)} ${c.order} touches of ${c.bytes / 2 ** 20} MiB, ` +
    `${c.threads} thread${c.threads === 1 ? '' : 's'}, ${c.regions} region${c.regions === 1 ? '' : 's'}, ${c.thinkNs / 1000} µs between touches\n` +
    `medians of ${c.rounds} rounds; ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`
  const stallTable = textTable(
    ['source and handler, client', 'wait', 'samples', 'first', 'p50', 'p99', 'p99.9', 'max'],
    stalls.map(({ ends, client, wait, median: m }) => [
      `${ends}, ${client === 'pagebase' ? 'client in C' : 'our client'}`,
      wait,
      formatCount(m.count),
      ...[m.first_us, m.p50_us, m.p99_us, m.p999_us, m.max_us].map(formatUs),
    ]),
  )
  const measureTable = textTable(
    ['measure', 'value', 'bar', ''],
    measures.map(({ name, value, unit, bar, isMet }) => [
      name,
      unit === '×' ? `${threeDigits(value)} ×` : formatUs(value),
      bar === null ? '' : barText(bar, unit),
      isMet === null ? '' : isMet ? 'met' : 'MISSED',
    ]),
  )
  const rateText = rates
    ? [
        `prefault alone, MB/s: faultlane ${rates.faultlane} for a client that comes ${SETTLED_MS / 1000} s after ready ` +
          `(${rates.faultlane_at_once} at once), raw TCP stream ${rates.raw_tcp}, pagebase --prefault ${rates.pagebase ?? '–'}`,
      ]
    : []
  const note =
    without_c === null
      ? []
      : [`without the reference programs in C, and so without ratios to them: ${without_c}`]
  return [head, '', stallTable, '', ...rateText, '', measureTable, ...note].join('\n')
}

function barText(bar: NonNullable<Measure['bar']>, unit: Measure['unit']): string {
  const [sign, value] = 'atMost' in bar ? ['≤', bar.atMost] : ['≥', bar.atLeast]
  return `${sign} ${unit === '×' ? `${threeDigits(value)} ×` : formatUs(value)}`
}
