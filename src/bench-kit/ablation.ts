/**
 * `bench ablation`: Faultlane with all its levels on, then with each off in turn, the rounds interleaved: what does
 * demand feel beside a saturating prefault, and how fast is the prefault? All on is measured twice a round: what the
 * two differ by is what a level must exceed before anything is said of it.
 */
import { LEVELS, type LevelName, levelsAt } from '../levels.ts'
import type { Self } from './daemons.ts'
import { DEMANDS, type DemandName } from './faulting-client.ts'
import { median } from './isolation.ts'
import { type CellLimits, type CellSample, runCell } from './isolation-cell.ts'
import { type LinkSpec, type OpenLink, openLink, withSource } from './links.ts'
import type { SessionSetup } from './session.ts'

export interface AblationOptions {
  readonly links: readonly LinkSpec[]
  readonly levels: readonly LevelName[]
  /** Off in all of it: what the others are worth then. */
  readonly without: readonly LevelName[]
  readonly demands: readonly Exclude<DemandName, 'none'>[]
  readonly runs: number
  readonly wait: string
  readonly limits: CellLimits
  /** Instead of what fits the link. */
  readonly imageBytes?: number
  readonly self: Self
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

export const ALL_ON = 'all on'
export const AGAIN = 'all on, again'
/** Not a level, because only its user knows the rate: what `serve --pace` adds, at most of the link's rate. */
export const PACED = '(paced)'
const PACE_SHARE = 0.95

export interface AblationFigures {
  readonly link: string
  readonly demand: string
  /** ALL_ON, AGAIN, or the level that is off. */
  readonly off: string
  /** Medians over the runs, microseconds. */
  readonly p50Us: number
  readonly p99Us: number
  /** ÷ the same demand with prefault off and all levels on, in the same rounds. */
  readonly p50Ratio: number
  readonly p99Ratio: number
  readonly prefaultMBps: number
  /** ÷ prefault with nobody touching and all levels on, in the same rounds. */
  readonly rateRatio: number
  readonly sentPerUnique: number
  readonly hedged: number
  readonly samples: number
  readonly runs: number
  /** What the level is worth, in a sentence; '' for all on. */
  readonly worth: string
}

export interface AblationResult {
  readonly figures: AblationFigures[]
  readonly links: { readonly name: string; readonly about: string; readonly imageBytes: number }[]
  /** Off in all of it. */
  readonly without: readonly LevelName[]
}

/** One measurement of a round. */
interface Cell {
  readonly name: string
  readonly demand: DemandName
  readonly isPrefaulting: boolean
  readonly off: readonly LevelName[]
  readonly isPaced?: boolean
}

const IDLE = 'idle'
const ALONE = 'alone'
/** Image for a second or two of prefault: at the link's rate, or at what loopback does on two processors. */
const IMAGE_SECONDS = 2
const LOOPBACK_IMAGE_BYTES = 2 ** 30

export async function benchAblation(options: AblationOptions): Promise<AblationResult> {
  const figures: AblationFigures[] = []
  const links: { name: string; about: string; imageBytes: number }[] = []
  for (const spec of options.links) {
    // Only where there is a rate to pace by.
    const cells = cellsOf(options).filter((cell) => !cell.isPaced || spec.bytesPerSecond > 0)
    const link = await openLink(spec, options.self, options.wait, imageBytesOf(spec, options.imageBytes))
    links.push({ name: spec.name, about: link.about, imageBytes: link.imageBytes })
    const samples = new Map<Cell, CellSample[]>(cells.map((cell) => [cell, []]))
    try {
      for (let run = 0; run < options.runs; run++) {
        for (let i = 0; i < cells.length; i++) {
          // Each round begins elsewhere, so that no cell always follows the same one.
          const cell = cells[(i + run * 3) % cells.length] as Cell
          const sample = await measure(options, link, cell, run * 100 + i)
          samples.get(cell)?.push(sample)
          sayCell(options, spec, cell, run, sample)
        }
      }
    } finally {
      await link.close()
    }
    for (const demand of options.demands) figures.push(...figuresOf(spec, demand, samples))
  }
  return { figures, links, without: options.without }
}

function cellsOf({ demands, levels, without }: AblationOptions): Cell[] {
  const alone: Cell = { name: ALONE, demand: 'none', isPrefaulting: true, off: [] }
  const beside = (demand: DemandName) => ({ demand, isPrefaulting: true, off: without })
  return [
    alone,
    ...demands.flatMap((demand) => [
      { name: IDLE, demand, isPrefaulting: false, off: [] },
      { ...beside(demand), name: ALL_ON },
      ...levels.map((level) => ({ ...beside(demand), name: level, off: [...without, level] })),
      { ...beside(demand), name: PACED, isPaced: true },
      { ...beside(demand), name: AGAIN },
    ]),
  ]
}

function imageBytesOf(spec: LinkSpec, wanted: number | undefined): number {
  if (wanted !== undefined) return wanted
  if (spec.bytesPerSecond === 0) return LOOPBACK_IMAGE_BYTES
  return Math.min(LOOPBACK_IMAGE_BYTES, 2 ** Math.round(Math.log2(spec.bytesPerSecond * IMAGE_SECONDS)))
}

/** Each with a source of its own, levels of the source or not: one that has served before is faster. */
function measure(options: AblationOptions, link: OpenLink, cell: Cell, seed: number): Promise<CellSample> {
  const { self, wait, limits, signal } = options
  const here = cell.off.filter((level) => levelsAt('attach').includes(level))
  const there = cell.off.filter((level) => levelsAt('serve').includes(level))
  const setup: Omit<SessionSetup, 'link'> = {
    self,
    scheduling: cell.isPrefaulting ? 'S2' : 'off',
    without: here,
    demand: DEMANDS[cell.demand],
    wait,
    seed,
  }
  const flags = there.length > 0 ? ['--without', there.join(',')] : []
  if (cell.isPaced)
    flags.push('--pace', `${Math.round((link.spec.bytesPerSecond * 8 * PACE_SHARE) / 1e6)}Mbit`)
  return withSource(link, self, wait, flags, (own) => runCell({ ...setup, link: own }, limits, signal))
}

function sayCell(
  options: AblationOptions,
  spec: LinkSpec,
  cell: Cell,
  run: number,
  sample: CellSample,
): void {
  const us = (percentile: number) => Math.round(sample.latency.percentileNs(percentile) / 1000)
  const what = cell.name in LEVELS ? `without ${cell.name}` : cell.name
  options.say(
    `run ${run + 1}/${options.runs} ${spec.name} ${cell.demand}, ${what}: ${sample.faults} faults, ` +
      `p50 ${us(50)} p99 ${us(99)} µs, prefault ${sample.prefaultMBps.toFixed(0)} MB/s`,
  )
}

/** What is compared, one figure of a run each; more is worse for a latency, better for a rate. */
interface Measured {
  readonly p50: number
  readonly p99: number
  readonly rate: number
}

function figuresOf(
  spec: LinkSpec,
  demand: DemandName,
  samples: ReadonlyMap<Cell, readonly CellSample[]>,
): AblationFigures[] {
  const cells = [...samples.keys()]
  const find = (name: string) =>
    cells.find((cell) => cell.name === name && (cell.demand === demand || name === ALONE)) as Cell
  const of = (name: string, value: (sample: CellSample) => number) =>
    (samples.get(find(name)) ?? []).map(value)
  const us = (percentile: number) => (sample: CellSample) => sample.latency.percentileNs(percentile) / 1000
  const rate = (sample: CellSample) => sample.prefaultMBps
  const idle: Measured = {
    p50: median(of(IDLE, us(50))),
    p99: median(of(IDLE, us(99))),
    rate: median(of(ALONE, rate)),
  }
  const runsOf = (name: string): Measured[] =>
    (samples.get(find(name)) ?? []).map((sample) => ({
      p50: us(50)(sample) / idle.p50,
      p99: us(99)(sample) / idle.p99,
      rate: rate(sample) / idle.rate,
    }))
  const control = [...runsOf(ALL_ON), ...runsOf(AGAIN)]
  return cells
    .filter((cell) => cell.demand === demand && cell.name !== IDLE)
    .map((cell) => {
      const runs = runsOf(cell.name)
      const own = samples.get(cell) ?? []
      return {
        link: spec.name,
        demand,
        off: cell.name,
        p50Us: median(of(cell.name, us(50))),
        p99Us: median(of(cell.name, us(99))),
        p50Ratio: median(runs.map((run) => run.p50)),
        p99Ratio: median(runs.map((run) => run.p99)),
        prefaultMBps: median(of(cell.name, rate)),
        rateRatio: median(runs.map((run) => run.rate)),
        sentPerUnique: own.reduce((most, sample) => Math.max(most, sample.sentPerUnique), 0),
        hedged: own.reduce((sum, sample) => sum + sample.hedged, 0),
        samples: own.reduce((sum, sample) => sum + sample.faults, 0),
        runs: own.length,
        worth: cell.name.startsWith(ALL_ON)
          ? ''
          : worthOf(runs, control, cell.name === PACED ? ADDED : TAKEN_AWAY),
      }
    })
}

/** Less than this is not worth a word, however steady it is. */
const DIFFERENCE_MIN = 0.1
/** Fewer rounds have differed by chance alone. */
const RUNS_MIN = 3

/** What a row lacks that all others have, or has that they lack. */
const TAKEN_AWAY = ['without it', 'with it'] as const
const ADDED = ['with it', 'without it'] as const

/**
 * What was different in this row: a figure whose median lies beyond every run with all levels on, and a tenth
 * from their median.
 */
export function worthOf(
  row: readonly Measured[],
  control: readonly Measured[],
  [here, elsewhere]: readonly [string, string] = TAKEN_AWAY,
): string {
  if (row.length < RUNS_MIN) return `not told: fewer than ${RUNS_MIN} rounds`
  const said = (['p50', 'p99', 'rate'] as const).flatMap((figure) => {
    const others = control.map((run) => run[figure])
    const own = median(row.map((run) => run[figure]))
    const usual = median(others)
    if (own >= Math.min(...others) && own <= Math.max(...others)) return []
    if (Math.abs(own / usual - 1) < DIFFERENCE_MIN) return []
    const isWorse = figure === 'rate' ? own < usual : own > usual
    const name = figure === 'rate' ? 'prefault' : figure
    return [`${isWorse ? '' : 'costs: '}${name} ${own.toFixed(2)} ${here}, ${usual.toFixed(2)} ${elsewhere}`]
  })
  return said.length === 0 ? 'nothing that these runs show' : said.join('; ')
}
