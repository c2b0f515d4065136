/**
 * The demo's runs: a source process, a destination process for each way to prefault, and a client whose vCPU threads
 * touch memory that is not there yet. Two workloads, three ways; every byte of every page that came is checked.
 *
 * Where the kernel refuses userfaultfd altogether, the client's memory is a LazyMemory and this process is its own
 * destination.
 */
import { type OpenLazyMemory, openLazyMemory } from '../daemon/lazy.ts'
import { FaultlaneError } from '../errors.ts'
import { type OpenedUserfaultfd, openUserfaultfd } from '../fault/userfaultfd-open.ts'
import { libc } from '../native/libc.ts'
import type { StallFigures } from '../report/stall-figures.ts'
import type { WaitMode } from '../workers/wait.ts'
import type { Program } from './child.ts'
import { DestinationProcess, startSource } from './destination.ts'
import { MeasuredClient } from './measured-client.ts'
import { touchOrder } from './touch-order.ts'

const PAGE_BYTES = 4096
/** Of 65,536 pages; an image of another size gets its share, but never more than this. */
const RANDOM_TOUCHES_MAX = 20_000
const RANDOM_SHARE = RANDOM_TOUCHES_MAX / 65_536
/** LazyMemory's last page and its counters are apart by a turn of the agent. */
const SETTLE_MS = 1
/** How long all memory may take to come, once the vCPUs are done. */
const COMPLETE_MS_MAX = 60_000

export const PREFAULT_WAYS = ['off', 'shared', 'own-lane'] as const
export type PrefaultWay = (typeof PREFAULT_WAYS)[number]
export const WORKLOADS = ['random', 'sequential'] as const
export type Workload = (typeof WORKLOADS)[number]

export interface DemoOptions {
  readonly faultlane: Program
  readonly bytes: number
  readonly vcpus: number
  readonly thinkNs: number
  readonly wait: WaitMode
  readonly over: 'auto' | 'userfaultfd' | 'lazy'
  /** An emulated link between source and destination: RATE/RTT[/QUEUE]. Default: loopback. */
  readonly link?: string
  readonly onProgress: (text: string) => void
}

export interface DemoRun {
  readonly workload: Workload
  readonly prefault: PrefaultWay
  readonly scheduling: string
  readonly pages_total: number
  readonly pages_touched: number
  readonly stalls: StallFigures
  /** From the handshake to the last page; null when pages nobody touched never came. */
  readonly all_here_ms: number | null
  readonly pages_sent: number
  /** Different pages among them. */
  readonly pages_unique: number
  readonly pages_checked: number
  readonly pages_corrupt: number
}

export interface DemoResult {
  readonly over: OpenedUserfaultfd['how'] | 'lazy'
  /** Why not over userfaultfd, and what would be needed. */
  readonly refusal: string | undefined
  readonly runs: readonly DemoRun[]
}

/** What came over the wire, whoever tells. */
interface Arrival {
  readonly isComplete: boolean
  readonly elapsedMs: number
  readonly pagesSent: number
  readonly pagesUnique: number
}

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { over, refusal } = chooseMemory(options.over)
  options.onProgress('starting the source')
  const source = await startSource(options.faultlane, options)
  const runs: DemoRun[] = []
  try {
    for (const prefault of PREFAULT_WAYS) {
      if (over === 'lazy') {
        for (const workload of WORKLOADS) runs.push(await runLazily(options, source.url, prefault, workload))
      } else runs.push(...(await runOverUserfaultfd(options, source.url, prefault)))
    }
  } finally {
    await source.stop()
  }
  return { over, refusal, runs: WORKLOADS.flatMap((name) => runs.filter((run) => run.workload === name)) }
}

function chooseMemory(wanted: DemoOptions['over']): Pick<DemoResult, 'over' | 'refusal'> {
  if (wanted === 'lazy') return { over: 'lazy', refusal: undefined }
  try {
    const { fd, how } = openUserfaultfd()
    libc().close(fd)
    return { over: how, refusal: undefined }
  } catch (error) {
    const isRefusal = error instanceof FaultlaneError && error.code === 'NO_USERFAULTFD'
    if (!isRefusal || wanted === 'userfaultfd') throw error
    return { over: 'lazy', refusal: error.message }
  }
}

async function runOverUserfaultfd(
  options: DemoOptions,
  url: string,
  prefault: PrefaultWay,
): Promise<DemoRun[]> {
  const scheduling = prefault === 'shared' ? 'S0' : 'S2'
  const destination = await DestinationProcess.start(options.faultlane, [
    ...['--source', url, '--wait', options.wait, '--scheduling', scheduling],
    ...['--prefault', prefault === 'off' ? 'off' : 'sequential'],
  ])
  const runs: DemoRun[] = []
  try {
    for (const workload of WORKLOADS) {
      const client = await openClient(options, workload)
      try {
        const touched = client.touch({ socketPath: destination.socketPath })
        await withProgress(options, client, workload, prefault, Promise.race([touched, destination.died()]))
        // Without prefault only what was touched comes; the client hangs up with the rest missing.
        const willComplete = prefault !== 'off' || orderOf(options, workload).length === pagesOf(options)
        if (!willComplete) await client.close()
        const report = await destination.nextReport()
        const isComplete = report.end === 'complete'
        if (isComplete) await client.sweep()
        const { demanded, prefaulted } = report.pages
        const arrival = {
          isComplete,
          elapsedMs: report.elapsed_ms,
          pagesSent: report.bytes_received / PAGE_BYTES,
          pagesUnique: demanded + prefaulted,
        }
        runs.push(describe(options, { workload, prefault, scheduling }, client, arrival))
      } finally {
        await client.close()
      }
    }
  } finally {
    await destination.stop()
  }
  return runs
}

async function runLazily(
  options: DemoOptions,
  source: string,
  prefault: PrefaultWay,
  workload: Workload,
): Promise<DemoRun> {
  // A LazyMemory's lanes have a connection each; the naive way is then prefault without restraint.
  const scheduling = prefault === 'shared' ? 'S1' : 'S2'
  const client = await openClient(options, workload)
  let lazy: OpenLazyMemory | undefined
  try {
    const policy = prefault === 'off' ? 'off' : 'sequential'
    lazy = await openLazyMemory({ source, wait: options.wait, scheduling, prefault: policy })
    const startedMs = performance.now()
    const complete = prefault === 'off' ? Promise.resolve(0) : untilComplete(lazy, startedMs)
    await withProgress(options, client, workload, prefault, client.touch({ lazy }))
    const completeMs = await complete
    const elapsedMs = completeMs || performance.now() - startedMs
    const { remaining, demanded, prefaulted, bytesReceived } = await settled(lazy)
    const isComplete = remaining === 0
    if (isComplete) await client.sweep()
    const pagesUnique = demanded + prefaulted
    const arrival = { isComplete, elapsedMs, pagesSent: bytesReceived / PAGE_BYTES, pagesUnique }
    return describe(options, { workload, prefault, scheduling }, client, arrival)
  } finally {
    await client.close()
    await lazy?.close()
  }
}

/** Milliseconds from `startedMs` until no page is missing. */
async function untilComplete(lazy: OpenLazyMemory, startedMs: number): Promise<number> {
  while (lazy.progress().remaining > 0) {
    if (performance.now() - startedMs > COMPLETE_MS_MAX) return COMPLETE_MS_MAX
    await sleep(SETTLE_MS)
  }
  return performance.now() - startedMs
}

/** The counters, once they no longer change. */
async function settled(lazy: OpenLazyMemory): Promise<ReturnType<OpenLazyMemory['progress']>> {
  for (let before = lazy.progress(); ; ) {
    await sleep(10 * SETTLE_MS)
    const now = lazy.progress()
    if (now.remaining === before.remaining && now.bytesReceived === before.bytesReceived) return now
    before = now
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function pagesOf({ bytes }: DemoOptions): number {
  return bytes / PAGE_BYTES
}

function orderOf(options: DemoOptions, workload: Workload): Int32Array<SharedArrayBuffer> {
  const pages = pagesOf(options)
  if (workload === 'sequential') return touchOrder('seq', pages, pages)
  return touchOrder(
    'rand',
    pages,
    Math.max(1, Math.min(RANDOM_TOUCHES_MAX, Math.round(pages * RANDOM_SHARE))),
  )
}

function openClient(options: DemoOptions, workload: Workload): Promise<MeasuredClient> {
  const { bytes, vcpus, thinkNs } = options
  return MeasuredClient.open({ bytes, vcpus, thinkNs, order: orderOf(options, workload) })
}

const TOLD_EVERY_MS = 200

async function withProgress(
  { onProgress }: DemoOptions,
  client: MeasuredClient,
  workload: Workload,
  prefault: PrefaultWay,
  touched: Promise<void>,
): Promise<void> {
  const tell = () =>
    onProgress(`${workload} touches, prefault ${prefault}: ${client.touched()} pages touched`)
  tell()
  const timer = setInterval(tell, TOLD_EVERY_MS)
  try {
    await touched
  } finally {
    clearInterval(timer)
  }
}

function describe(
  options: DemoOptions,
  what: Pick<DemoRun, 'workload' | 'prefault' | 'scheduling'>,
  client: MeasuredClient,
  arrival: Arrival,
): DemoRun {
  const { stalls, checkedPages, corruptPages } = client.figures()
  return {
    ...what,
    pages_total: pagesOf(options),
    pages_touched: stalls.touches,
    stalls,
    all_here_ms: arrival.isComplete ? Number(arrival.elapsedMs.toFixed(1)) : null,
    pages_sent: arrival.pagesSent,
    pages_unique: arrival.pagesUnique,
    pages_checked: checkedPages,
    pages_corrupt: corruptPages,
  }
}
