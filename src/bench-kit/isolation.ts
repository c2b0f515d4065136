/**
 * `bench isolation`: every chosen link × scheduling × demand, the runs interleaved, each with its own baseline (the
 * same with prefault off) and its own idle prefault (the same with nobody touching) in the same round.
 */
import { BULK_QUANTUM_BYTES } from '../config.ts'
import { LatencySnapshot } from '../ring/latency-snapshot.ts'
import type { Self } from './daemons.ts'
import { DEMANDS, type DemandName } from './faulting-client.ts'
import { type CellLimits, type CellSample, runCell } from './isolation-cell.ts'
import { type LinkSpec, type OpenLink, openLink } from './links.ts'
import { PEER, PEER_DEMANDS, runPeerCell } from './nbd-peer.ts'

export interface IsolationOptions {
  readonly links: readonly LinkSpec[]
  /** S0…S4, peer; `off` is added. */
  readonly schedulings: readonly string[]
  readonly demands: readonly DemandName[]
  readonly runs: number
  readonly wait: string
  readonly limits: CellLimits
  readonly imageBytes?: number
  readonly self: Self
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

export interface CellFigures {
  readonly link: string
  readonly scheduling: string
  readonly demand: string
  /** Medians over the runs, microseconds. */
  readonly p50Us: number
  readonly p90Us: number
  readonly p99Us: number
  readonly p999Us: number
  /** The worst of all runs. */
  readonly maxUs: number
  /** ÷ the same demand with prefault off; null for that itself. */
  readonly p50Ratio: number | null
  readonly p99Ratio: number | null
  readonly prefaultMBps: number
  /** ÷ the same scheduling's prefault with nobody touching; null where that was not run. */
  readonly prefaultShare: number | null
  /** (prefault + demand bytes) ÷ the link's rate; null on loopback. */
  readonly linkShare: number | null
  readonly demandMBps: number
  readonly cpuSecondsPerGB: number
  readonly sentPerUnique: number
  readonly duplicate: number
  readonly hedged: number
  /** Faults on a page that prefault had in flight. */
  readonly promoted: number
  /** Of these, whose page came, and how long they waited: medians over the runs that had any, and the worst. */
  readonly promotedWaits: number
  readonly promotedP50Us: number | null
  readonly promotedP99Us: number | null
  readonly promotedMaxUs: number | null
  /** What promotedP99Us is held to: see promotedBoundUs(); null where nobody faults, or the rate is not known. */
  readonly promotedBoundUs: number | null
  readonly samples: number
  readonly hits: number
  readonly windowMs: number
  readonly generatorLateP99Us: number
  /** Processors that others kept busy: the median, and the worst run. */
  readonly foreignCores: number
  readonly foreignCoresMax: number
  /** Processors that the host kept from this machine: the median, and the worst run. */
  readonly stolenCores: number
  readonly stolenCoresMax: number
  /** Milliseconds of each second in which the machine stood still: the median, and the worst run; null where that cannot be watched. */
  readonly stillMsPerS: number | null
  readonly stillMsPerSMax: number | null
  readonly runs: number
}

export interface IsolationResult {
  readonly figures: CellFigures[]
  readonly links: { readonly name: string; readonly about: string; readonly imageBytes: number }[]
  /** All runs' latencies of a cell together, for a picture: key `link|scheduling|demand`. */
  readonly latencies: Map<string, LatencySnapshot>
}

interface Cell {
  readonly scheduling: string
  readonly demand: DemandName
}

/** Every scheduling with every demand, its idle prefault, and the baselines: one round. */
function cellsOf(options: IsolationOptions): Cell[] {
  const cells: Cell[] = []
  for (const demand of options.demands) {
    if (demand !== 'none') cells.push({ scheduling: 'off', demand })
    for (const scheduling of options.schedulings) {
      if (scheduling !== PEER) cells.push({ scheduling, demand })
      else if (PEER_DEMANDS.has(demand))
        cells.push({ scheduling: `${PEER}-off`, demand }, { scheduling, demand })
    }
  }
  return cells
}

export async function benchIsolation(options: IsolationOptions): Promise<IsolationResult> {
  const samples = new Map<string, CellSample[]>()
  const links: { name: string; about: string; imageBytes: number }[] = []
  const cells = cellsOf(options)
  for (const spec of options.links) {
    const link = await openLink(spec, options.self, options.wait, options.imageBytes)
    links.push({ name: spec.name, about: link.about, imageBytes: link.imageBytes })
    try {
      for (let run = 0; run < options.runs; run++) await oneRound(options, link, cells, run, samples)
    } finally {
      await link.close()
    }
  }
  return {
    figures: options.links.flatMap((spec) => cells.map((cell) => figuresOf(spec, cell, samples))),
    links,
    latencies: new Map(
      [...samples].map(([key, list]) => [
        key,
        list.reduce((sum, sample) => sum.merge(sample.latency), LatencySnapshot.empty()),
      ]),
    ),
  }
}

async function oneRound(
  options: IsolationOptions,
  link: OpenLink,
  cells: readonly Cell[],
  run: number,
  samples: Map<string, CellSample[]>,
): Promise<void> {
  for (let i = 0; i < cells.length; i++) {
    // Each round begins elsewhere, so that no cell always follows the same one.
    const cell = cells[(i + run * 3) % cells.length] as Cell
    const { self, wait, limits, signal } = options
    const setup = {
      link,
      self,
      scheduling: cell.scheduling,
      demand: DEMANDS[cell.demand],
      wait,
      seed: run * 100 + i,
    }
    const isPeer = cell.scheduling.startsWith(PEER)
    const sample = isPeer
      ? await runPeerCell(link, setup.demand, cell.scheduling === PEER, limits, setup.seed, signal)
      : await runCell(setup, limits, signal)
    const key = keyOf(link.spec, cell)
    samples.set(key, [...(samples.get(key) ?? []), sample])
    const us = (percentile: number) => Math.round(sample.latency.percentileNs(percentile) / 1000)
    options.say(
      `run ${run + 1}/${options.runs} ${link.spec.name} ${cell.scheduling} ${cell.demand}: ${sample.faults} faults, ` +
        `p50 ${us(50)} p99 ${us(99)} µs, prefault ${sample.prefaultMBps.toFixed(0)} MB/s, ${sample.windowMs.toFixed(0)} ms${sayStill(sample)}`,
    )
  }
}

/**
 * How long a fault may wait for a page that is in flight: one quantum at the link's rate and one idle round trip.
 * `idleP50Us`: the median stall of the same demand with prefault off. Where the link is not what limits
 * (`bytesPerSecond` 0), its rate is what prefault alone moved over it.
 */
export function promotedBoundUs(bytesPerSecond: number, aloneMBps: number, idleP50Us: number): number | null {
  const bytesPerUs = bytesPerSecond > 0 ? bytesPerSecond / 1e6 : aloneMBps
  return bytesPerUs > 0 && idleP50Us > 0 ? BULK_QUANTUM_BYTES / bytesPerUs + idleP50Us : null
}

const keyOf = (spec: LinkSpec, cell: Cell) => `${spec.name}|${cell.scheduling}|${cell.demand}`

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return 0
  if (sorted.length % 2 === 1) return sorted[middle] as number
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

/** How long the machine stood still in these runs: the median, and the worst. */
export function stillFigures(
  samples: readonly CellSample[],
): Pick<CellFigures, 'stillMsPerS' | 'stillMsPerSMax'> {
  const each = samples.flatMap(({ stillMsPerS }) => (stillMsPerS === null ? [] : [stillMsPerS]))
  if (each.length === 0) return { stillMsPerS: null, stillMsPerSMax: null }
  return { stillMsPerS: median(each), stillMsPerSMax: Math.max(...each) }
}

/** What a run says of it beside its latencies, where there is something to say. */
export function sayStill({ stillMsPerS }: CellSample): string {
  return stillMsPerS !== null && stillMsPerS >= 1 ? `, stood still ${stillMsPerS.toFixed(0)} ms/s` : ''
}

function figuresOf(spec: LinkSpec, cell: Cell, samples: Map<string, CellSample[]>): CellFigures {
  const own = samples.get(keyOf(spec, cell)) ?? []
  const isIdle = cell.scheduling.endsWith('off')
  const idleName = cell.scheduling === PEER ? `${PEER}-off` : 'off'
  const idle = samples.get(keyOf(spec, { ...cell, scheduling: idleName })) ?? []
  const alone = samples.get(keyOf(spec, { ...cell, demand: 'none' })) ?? []
  const of = (list: readonly CellSample[], value: (sample: CellSample) => number) => median(list.map(value))
  const us = (list: readonly CellSample[], percentile: number) =>
    of(list, (sample) => sample.latency.percentileNs(percentile) / 1000)
  const sum = (value: (sample: CellSample) => number) =>
    own.reduce((total, sample) => total + value(sample), 0)
  const ratio = (percentile: number) =>
    isIdle || cell.demand === 'none' || idle.length === 0 ? null : us(own, percentile) / us(idle, percentile)
  const waited = own.filter((sample) => sample.promotedUs.count > 0)
  const waitUs = (value: (sample: CellSample) => number) => (waited.length === 0 ? null : of(waited, value))
  const aloneMBps = of(alone, (sample) => sample.prefaultMBps)
  const prefaultMBps = of(own, (sample) => sample.prefaultMBps)
  const demandMBps = of(own, (sample) => sample.demandMBps)
  return {
    link: spec.name,
    scheduling: cell.scheduling,
    demand: cell.demand,
    p50Us: us(own, 50),
    p90Us: us(own, 90),
    p99Us: us(own, 99),
    p999Us: us(own, 99.9),
    maxUs: own.reduce((most, sample) => Math.max(most, sample.latency.maxNs), 0) / 1000,
    p50Ratio: ratio(50),
    p99Ratio: ratio(99),
    prefaultMBps,
    prefaultShare: isIdle || alone.length === 0 ? null : prefaultMBps / aloneMBps,
    linkShare: spec.bytesPerSecond === 0 ? null : ((prefaultMBps + demandMBps) * 1e6) / spec.bytesPerSecond,
    demandMBps,
    cpuSecondsPerGB: of(own, (sample) => sample.cpuSecondsPerGB),
    sentPerUnique: own.reduce((most, sample) => Math.max(most, sample.sentPerUnique), 0),
    duplicate: sum((sample) => sample.duplicate),
    hedged: sum((sample) => sample.hedged),
    promoted: sum((sample) => sample.promoted),
    promotedWaits: sum((sample) => sample.promotedUs.count),
    promotedP50Us: waitUs((sample) => sample.promotedUs.p50),
    promotedP99Us: waitUs((sample) => sample.promotedUs.p99),
    promotedMaxUs: waited.length === 0 ? null : Math.max(...waited.map((sample) => sample.promotedUs.max)),
    promotedBoundUs: isIdle ? null : promotedBoundUs(spec.bytesPerSecond, aloneMBps, us(idle, 50)),
    samples: sum((sample) => sample.faults),
    hits: sum((sample) => sample.hits),
    windowMs: of(own, (sample) => sample.windowMs),
    generatorLateP99Us: of(own, (sample) => sample.latenessP99Us),
    foreignCores: of(own, (sample) => sample.foreignCores),
    foreignCoresMax: own.reduce((most, sample) => Math.max(most, sample.foreignCores), 0),
    stolenCores: of(own, (sample) => sample.stolenCores),
    stolenCoresMax: own.reduce((most, sample) => Math.max(most, sample.stolenCores), 0),
    ...stillFigures(own),
    runs: own.length,
  }
}
