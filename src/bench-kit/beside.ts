/**
 * `bench beside`: a light client beside a heavy one, two handlers, one source. The heavy client is a process of its
 * own, as another virtual machine would be. Prefault is on in both.
 */
import { join } from 'node:path'
import { Daemon, type Self } from './daemons.ts'
import { DEMANDS } from './faulting-client.ts'
import { median } from './isolation.ts'
import { type CellLimits, type CellSample, runCell } from './isolation-cell.ts'
import { type LinkSpec, type OpenLink, openLink } from './links.ts'

export interface BesideOptions {
  readonly links: readonly LinkSpec[]
  readonly scheduling: string
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
  readonly runs: number
}

export async function benchBeside(options: BesideOptions): Promise<BesideFigures[]> {
  const figures: BesideFigures[] = []
  for (const spec of options.links) {
    const link = await openLink(spec, options.self, options.wait)
    const alone: CellSample[] = []
    const beside: CellSample[] = []
    try {
      for (let run = 0; run < options.runs; run++) {
        alone.push(await lightCell(options, link, run))
        beside.push(await besideHeavy(options, link, run))
        const us = (sample: CellSample | undefined) =>
          Math.round((sample?.latency.percentileNs(99) ?? 0) / 1000)
        options.say(
          `run ${run + 1} ${spec.name}: light p99 alone ${us(alone.at(-1))}, beside ${us(beside.at(-1))} µs`,
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
      runs: options.runs,
    })
  }
  return figures
}

function lightCell(
  options: BesideOptions,
  link: OpenLink,
  run: number,
  onHandedOver?: () => void,
): Promise<CellSample> {
  const { self, wait, scheduling, limits, signal } = options
  return runCell(
    { link, self, scheduling, demand: DEMANDS.light, wait, seed: run + 1 },
    limits,
    signal,
    onHandedOver,
  )
}

/** Both handlers and all threads are up before either client hands its memory over: what is measured is faults, not starts. */
async function besideHeavy(options: BesideOptions, link: OpenLink, run: number): Promise<CellSample> {
  const { self, wait, scheduling } = options
  const socket = join(link.folder, `heavy-${run}.socket`)
  const attach = [self.node, self.script, 'attach', '--socket', socket, '--source', link.sourceUrl]
  const handler = await Daemon.start(
    [...attach, '--scheduling', scheduling, '--wait', wait],
    link.atDestination,
  )
  let heavy: Daemon | undefined
  try {
    const touch = [
      self.node,
      self.script,
      'bench',
      'touch',
      '--socket',
      socket,
      '--size',
      String(link.imageBytes),
    ]
    heavy = await Daemon.start([...touch, '--demand', 'heavy32', '--hold'], [], 'holding')
    return await lightCell(options, link, run, () => heavy?.begin())
  } finally {
    await handler.kill() // Its client's threads are freed by its end, or by theirs.
    await heavy?.kill()
  }
}
