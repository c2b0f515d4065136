/**
 * `bench sweep`: what a round trip costs, over emulated links. With prefault off the stall must follow
 * T0 + k × round trip × network faults; with prefault on, no workload may end later than without.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { PHASE } from '../fault/toucher.ts'
import type { AttachReport } from '../report/attach-report.ts'
import type { Self } from './daemons.ts'
import { DEMANDS, type Touched } from './faulting-client.ts'
import { median } from './isolation.ts'
import { parseLinkSpec } from './link-spec.ts'
import { type OpenLink, openLink } from './links.ts'
import { Session } from './session.ts'

/**
 * Which pages are touched. random, sequential: a third of the client's memory, as the demo's workload does. sparse: as many at
 * random out of the whole image, a percent or two: next to nothing that prefault brings is touched, and what it costs shows.
 */
export const ORDERS = ['random', 'sequential', 'sparse'] as const
/** Pages of memory for each page that random and sequential touch. */
const PAGES_PER_TOUCH = 3
/**
 * When the client comes, after the handler's `ready`: it has rehearsed by then, as it has when a virtual machine is started after it. Of
 * a workload of 20 ms one that interrupts the rehearsal measures the engine's compiler.
 */
export const SETTLED_MS = 500
export type Order = (typeof ORDERS)[number]

export interface SweepOptions {
  readonly rates: readonly string[]
  readonly rtts: readonly string[]
  /** Pages that a workload touches, the same number in every cell: T0 is then one number. */
  readonly touches: number
  readonly runs: number
  readonly wait: string
  readonly scheduling: string
  /** All of it is the memory of the client that touches it sparsely. */
  readonly imageBytes: number
  readonly orders: readonly Order[]
  readonly self: Self
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

export interface SweepCell {
  readonly rate: string
  readonly rttUs: number
  readonly order: Order
  readonly offMs: number
  readonly onMs: number
  /** Completion with prefault ÷ without: of the medians. */
  readonly ratio: number
  readonly offStallMs: number
  /** Pages that a thread stood still for: with prefault those that had to be asked for, and those in flight already. */
  readonly offFaults: number
  readonly onFaults: number
  /** With prefault: faults on a page already in flight in bulk, and pages that came twice. */
  readonly promoted: number
  readonly duplicate: number
  readonly onP99Us: number
  readonly sentPerUnique: number
  readonly runs: number
}

export interface Fit {
  readonly rate: string
  readonly t0Ms: number
  readonly k: number
  readonly r2: number
  /** Largest deviation of a cell from the line, as a share of the cell. */
  readonly worstCell: number
}

export interface SweepResult {
  readonly touches: number
  readonly imageBytes: number
  readonly cells: SweepCell[]
  readonly fits: Fit[]
  /** The emulator's own word: how late it delivered demand replies, per link. */
  readonly linkWords: string[]
}

interface Walk {
  readonly touched: Touched
  readonly report: AttachReport
}

export async function benchSweep(options: SweepOptions): Promise<SweepResult> {
  const cells: SweepCell[] = []
  const linkWords: string[] = []
  for (const rate of options.rates) {
    for (const rtt of options.rtts) {
      const spec = parseLinkSpec(`${rate}/${rtt}`)
      const link = await openLink(spec, options.self, options.wait, options.imageBytes)
      const walks = new Map<string, Walk[]>()
      try {
        for (let run = 0; run < options.runs; run++) {
          for (const order of options.orders) {
            for (const scheduling of run % 2 === 0
              ? ['off', options.scheduling]
              : [options.scheduling, 'off']) {
              const key = `${scheduling === 'off' ? 'off' : 'on'} ${order}`
              walks.set(key, [...(walks.get(key) ?? []), await walk(options, link, scheduling, order, run)])
            }
          }
        }
      } finally {
        await link.close()
      }
      linkWords.push(link.source.lastWords.split(' | ').at(-1) ?? '')
      for (const order of options.orders) {
        const cell = cellOf(
          rate,
          spec.rttUs,
          order,
          walks.get(`off ${order}`) ?? [],
          walks.get(`on ${order}`) ?? [],
        )
        cells.push(cell)
        options.say(
          `${spec.name} ${order}: off ${cell.offMs.toFixed(1)} ms, on ${cell.onMs.toFixed(1)} ms, ratio ${cell.ratio.toFixed(3)}`,
        )
      }
    }
  }
  const { touches, imageBytes } = options
  const fits = options.rates.map((rate) => fitOf(rate, cells)).filter((fit) => fit !== undefined)
  return { touches, imageBytes, cells, fits, linkWords }
}

async function walk(
  options: SweepOptions,
  link: OpenLink,
  scheduling: string,
  order: Order,
  run: number,
): Promise<Walk> {
  const pageCount = memoryPages(order, options.touches, link.imageBytes / 4096)
  const pages = pagesOf(order, options.touches, pageCount, run + 1)
  const { self, wait } = options
  const session = await Session.start({
    link,
    self,
    scheduling,
    demand: DEMANDS.walk,
    wait,
    seed: run,
    pages,
    clientBytes: pageCount * 4096,
    settleMs: SETTLED_MS,
  })
  try {
    session.client.setPhase(PHASE.MEASURE)
    const touched = await Promise.race([session.client.touched(), interrupted(options.signal)])
    return { touched, report: await session.finish(scheduling !== 'off') }
  } catch (error) {
    await session.abandon()
    throw error
  }
}

/** Rejects when the user has had enough. */
async function interrupted(signal: AbortSignal): Promise<never> {
  for (;;) await delay(60_000, undefined, { signal, ref: false })
}

function memoryPages(order: Order, touches: number, imagePages: number): number {
  return order === 'sparse' ? imagePages : Math.min(imagePages, touches * PAGES_PER_TOUCH)
}

export function pagesOf(order: Order, count: number, pageCount: number, seed: number): Uint32Array {
  if (order === 'sequential') return Uint32Array.from({ length: Math.min(count, pageCount) }, (_, i) => i)
  const all = Uint32Array.from({ length: pageCount }, (_, i) => i)
  const picked = Math.min(count, pageCount)
  let random = Math.imul(seed, 0x9e3779b1) | 1
  for (let i = 0; i < picked; i++) {
    random ^= random << 13
    random ^= random >>> 17
    random ^= random << 5
    const j = i + ((random >>> 0) % (pageCount - i))
    const kept = all[i] as number
    all[i] = all[j] as number
    all[j] = kept
  }
  return all.slice(0, picked)
}

function cellOf(
  rate: string,
  rttUs: number,
  order: Order,
  off: readonly Walk[],
  on: readonly Walk[],
): SweepCell {
  const of = (walks: readonly Walk[], value: (walk: Walk) => number) => median(walks.map(value))
  const offMs = of(off, (walk) => walk.touched.elapsedNs / 1e6)
  const onMs = of(on, (walk) => walk.touched.elapsedNs / 1e6)
  const sent = (walk: Walk) => {
    const { demanded, prefaulted } = walk.report.pages
    return walk.report.bytes_received / 4096 / Math.max(1, demanded + prefaulted)
  }
  return {
    rate,
    rttUs,
    order,
    offMs,
    onMs,
    ratio: onMs / offMs,
    offStallMs: of(off, (walk) => walk.touched.stallNs / 1e6),
    offFaults: of(off, (walk) => walk.report.pages.demanded),
    onFaults: of(on, (walk) => walk.report.pages.demanded + walk.report.promoted),
    promoted: of(on, (walk) => walk.report.promoted),
    duplicate: Math.max(...off.concat(on).map((walk) => walk.report.pages.duplicate)),
    onP99Us: of(on, (walk) => walk.touched.latency.percentileNs(99) / 1000),
    sentPerUnique: Math.max(...off.concat(on).map(sent)),
    runs: off.length,
  }
}

/**
 * Least squares of stall = T0 + k × (round trip × network faults), over the cells with random order and prefault off; undefined
 * where they have fewer than two round trips, through which any line would do.
 */
export function fitOf(rate: string, cells: readonly SweepCell[]): Fit | undefined {
  const lineCells = cells.filter((cell) => cell.rate === rate && cell.order === 'random')
  if (new Set(lineCells.map((cell) => cell.rttUs)).size < 2) return undefined
  const points = lineCells.map((cell) => ({ x: (cell.rttUs * cell.offFaults) / 1000, y: cell.offStallMs }))
  const meanX = points.reduce((sum, { x }) => sum + x, 0) / points.length
  const meanY = points.reduce((sum, { y }) => sum + y, 0) / points.length
  const sum = (of: (x: number, y: number) => number) =>
    points.reduce((total, { x, y }) => total + of(x - meanX, y - meanY), 0)
  const k = sum((x, y) => x * y) / sum((x) => x * x)
  const t0Ms = meanY - k * meanX
  const rest = points.reduce((total, { x, y }) => total + (y - t0Ms - k * x) ** 2, 0)
  const worstCell = Math.max(...points.map(({ x, y }) => Math.abs(y - t0Ms - k * x) / y))
  return { rate, t0Ms, k, r2: 1 - rest / sum((_, y) => y * y), worstCell }
}
