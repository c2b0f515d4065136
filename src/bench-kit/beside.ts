/**
 * `bench beside`: a light client beside a heavy one, at one source, behind one daemon or one each. The heavy client is a
 * process of its own, as another virtual machine would be. Prefault is on in both.
 */
import type { LevelName } from '../levels.ts'
import { Daemon, type Self } from './daemons.ts'
import { DEMANDS } from './faulting-client.ts'
import { median, sayStill, stillFigures } from './isolation.ts'
import { type CellLimits, type CellSample, runCell } from './isolation-cell.ts'
import { type LinkSpec, type OpenLink, openLink } from './links.ts'
import { type HandlerSocket, startHandlers } from './session.ts'

export interface BesideOptions {
  readonly links: readonly LinkSpec[]
  readonly scheduling: string
  /** Of the destination: switched off beside the heavy client. */
  readonly without: readonly LevelName[]
  /** What the other client does. */
  readonly neighbour: 'heavy32' | 'none'
  /** 1: both clients have one daemon; 2: one each. */
  readonly daemons: 1 | 2
  readonly runs: number
  readonly wait: string
  readonly limits: CellLimits
  readonly self: Self
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

export interface BesideFigures {
  readonly link: string
  readonly aloneP50Us: number
  readonly aloneP99Us: number
  readonly besideP50Us: number
  readonly besideP99Us: number
  readonly p99Ratio: number
  readonly samples: number
  /** What the heavy client has of it: its faults in a second, while the light one is there. */
  readonly heavyFaultsPerS: number
  /** Processors that the host kept from this machine beside the heavy client: the median, and the worst round. */
  readonly stolenCores: number
  readonly stolenCoresMax: number
  /** Milliseconds of each second in which it stood still, likewise; null where that cannot be watched. */
  readonly stillMsPerS: number | null
  readonly stillMsPerSMax: number | null
  readonly runs: number
}

export async function benchBeside(options: BesideOptions): Promise<BesideFigures[]> {
  const figures: BesideFigures[] = []
  for (const spec of options.links) {
    const link = await openLink(spec, options.self, options.wait)
    const alone: CellSample[] = []
    const beside: CellSample[] = []
    const heavyFaultsPerS: number[] = []
    try {
      for (let run = 0; run < options.runs; run++) {
        alone.push(await lightCell(options, link, run))
        const both = await besideHeavy(options, link, run)
        beside.push(both.light)
        heavyFaultsPerS.push(both.heavyFaultsPerS)
        const said = (samples: CellSample[]) => {
          const last = samples.at(-1) as CellSample
          return `${Math.round(last.latency.percentileNs(99) / 1000)} µs${sayStill(last)}`
        }
        const heavy = `heavy client ${Math.round(both.heavyFaultsPerS)} faults/s`
        options.say(
          `run ${run + 1} ${spec.name}: light p99 alone ${said(alone)}, beside ${said(beside)}, ${heavy}`,
        )
      }
    } finally {
      await link.close()
    }
    const of = (samples: CellSample[], percentile: number) =>
      median(samples.map((sample) => sample.latency.percentileNs(percentile) / 1000))
    figures.push({
      link: spec.name,
      aloneP50Us: of(alone, 50),
      aloneP99Us: of(alone, 99),
      besideP50Us: of(beside, 50),
      besideP99Us: of(beside, 99),
      p99Ratio: of(beside, 99) / of(alone, 99),
      samples: beside.reduce((sum, sample) => sum + sample.faults, 0),
      heavyFaultsPerS: median(heavyFaultsPerS),
      stolenCores: median(beside.map((sample) => sample.stolenCores)),
      stolenCoresMax: Math.max(...beside.map((sample) => sample.stolenCores)),
      ...stillFigures(beside),
      runs: options.runs,
    })
  }
  return figures
}

function lightCell(
  options: BesideOptions,
  link: OpenLink,
  run: number,
  handler?: HandlerSocket,
  onHandedOver?: () => void,
): Promise<CellSample> {
  const { self, wait, scheduling, limits, signal } = options
  return runCell(
    { link, self, scheduling, demand: DEMANDS.light, wait, seed: run + 1, ...(handler && { handler }) },
    limits,
    signal,
    onHandedOver,
  )
}

/** Both handlers and all threads are up before either client hands its memory over: what is measured is faults, not starts. */
async function besideHeavy(
  options: BesideOptions,
  link: OpenLink,
  run: number,
): Promise<{ light: CellSample; heavyFaultsPerS: number }> {
  const { self, wait, scheduling, without } = options
  const how = { link, self, scheduling, without, wait }
  const handlers = await startHandlers(how, options.daemons === 1 ? 2 : 1)
  let heavy: Daemon | undefined
  try {
    if (options.daemons === 2) handlers.push(...(await startHandlers(how, 1)))
    const [forHeavy, forLight] = handlers as [HandlerSocket, HandlerSocket]
    const size = String(link.imageBytes)
    const touch = [self.node, self.script, 'bench', 'touch', '--socket', forHeavy.socketPath, '--size', size]
    heavy = await Daemon.start([...touch, '--demand', options.neighbour, '--hold'], [], 'holding')
    let begunMs = 0
    const faultsBefore = heavy.faults()
    const light = await lightCell(options, link, run, forLight, () => {
      heavy?.begin()
      begunMs = performance.now()
    })
    return {
      light,
      heavyFaultsPerS: (1000 * (heavy.faults() - faultsBefore)) / (performance.now() - begunMs),
    }
  } finally {
    for (const { daemon } of handlers) await daemon.kill() // The heavy client's threads are freed by its end, or by theirs.
    await heavy?.kill()
  }
}
