/**
 * `faultlane bench fault`: how long a touch of a missing page stands still, over TCP on this machine, prefault off; and
 * how fast prefault alone brings memory here. With a C compiler the reference programs take turns with ours in the same
 * run, so that a disturbance of the machine hits both; ratios are medians of the rounds' ratios.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { touchFreeMemory } from '../memory/free-memory.ts'
import { STALL_NS_MIN, type StallFigures } from '../report/stall-figures.ts'
import type { WaitMode } from '../workers/wait.ts'
import type { Program } from './child.ts'
import { DestinationProcess, startSource } from './destination.ts'
import { MeasuredClient } from './measured-client.ts'
import { Pagebase, type PagebaseClientFigures, type PagebaseLoad } from './pagebase.ts'
import { rawStreamMbPerS } from './raw-stream.ts'
import { type TouchOrder, touchOrder } from './touch-order.ts'

const PAGE_BYTES = 4096

export interface FaultBenchOptions {
  readonly faultlane: Program
  readonly bytes: number
  readonly touches: number
  readonly threads: number
  readonly regions: number
  readonly order: TouchOrder
  readonly thinkNs: number
  readonly rounds: number
  readonly waits: readonly WaitMode[]
  /** Measure prefault alone, too. */
  readonly rate: boolean
  /** Bytes of memory that this process may still have. */
  readonly freeBytes: () => number
  readonly onProgress: (text: string) => void
}

/** Who answered, and who asked. */
export interface Series {
  readonly ends: 'pagebase' | 'faultlane'
  readonly client: 'pagebase' | 'faultlane'
  readonly wait: WaitMode
  /** One for each round. */
  readonly rounds: readonly StallFigures[]
}

/** MB/s, one for each round. */
export interface Rates {
  /** Of a client that comes SETTLED_MS after `ready`. */
  readonly faultlane: readonly number[]
  /** Of one that comes at once, in the middle of what is done while nobody is there. */
  readonly faultlane_at_once: readonly number[]
  readonly raw_tcp: readonly number[]
  readonly pagebase: readonly number[]
}

export interface FaultBenchResult {
  readonly series: readonly Series[]
  readonly rates: Rates | null
  /** Why the reference programs in C did not take part. */
  readonly without_c: string | null
}

const SEED = 99
/** What a destination does for itself while nobody is there takes some 300 ms. */
export const SETTLED_MS = 1000

export async function runFaultBench(options: FaultBenchOptions): Promise<FaultBenchResult> {
  const built = await Pagebase.build()
  const pagebase = typeof built === 'string' ? undefined : built
  const series = new Map<string, { head: Omit<Series, 'rounds'>; rounds: StallFigures[] }>()
  const note = (head: Omit<Series, 'rounds'>, figures: StallFigures) => {
    const key = `${head.wait} ${head.ends} ${head.client}`
    const entry = series.get(key) ?? { head, rounds: [] }
    entry.rounds.push(figures)
    series.set(key, entry)
  }
  const rates = {
    faultlane: [] as number[],
    faultlane_at_once: [] as number[],
    raw_tcp: [] as number[],
    pagebase: [] as number[],
  }
  try {
    for (let round = 0; round < options.rounds; round++) {
      const told = (what: string) => options.onProgress(`round ${round + 1} of ${options.rounds}: ${what}`)
      if (pagebase) {
        for (const wait of peerWaits(options.waits)) {
          told(`pagebase, ${wait}`)
          note({ ends: 'pagebase', client: 'pagebase', wait }, await pagebaseAlone(options, pagebase, wait))
        }
      }
      for (const wait of options.waits) {
        told(`faultlane, ${wait}`)
        if (pagebase) {
          const figures = await withEnds(options, wait, async (socketPath) =>
            fromPagebase(await pagebase.runClient(socketPath, loadOf(options))),
          )
          note({ ends: 'faultlane', client: 'pagebase', wait }, figures)
        }
        const figures = await withEnds(options, wait, (socketPath) => ourClient(options, socketPath))
        note({ ends: 'faultlane', client: 'faultlane', wait }, figures)
      }
      if (options.rate) {
        told('prefault alone')
        rates.raw_tcp.push(await rawStreamMbPerS(options.faultlane, options.bytes))
        rates.faultlane.push(await prefaultRate(options, SETTLED_MS))
        rates.faultlane_at_once.push(await prefaultRate(options, 0))
        if (pagebase) rates.pagebase.push(await pagebasePrefaultRate(options, pagebase))
      }
    }
  } finally {
    pagebase?.remove()
  }
  return {
    series: [...series.values()].map(({ head, rounds }) => ({ ...head, rounds })),
    rates: options.rate ? rates : null,
    without_c: typeof built === 'string' ? built : null,
  }
}

/** The reference knows no adaptive wait: it is measured against block. */
export function peerWait(wait: WaitMode): 'block' | 'spin' {
  return wait === 'spin' ? 'spin' : 'block'
}

function peerWaits(waits: readonly WaitMode[]): ('block' | 'spin')[] {
  return [...new Set(waits.map(peerWait))]
}

function loadOf(options: FaultBenchOptions): PagebaseLoad {
  const { bytes, touches, order, threads, regions, thinkNs } = options
  return { mib: bytes / 2 ** 20, touches, order, threads, regions, thinkUs: thinkNs / 1000, seed: SEED }
}

async function pagebaseAlone(
  options: FaultBenchOptions,
  pagebase: Pagebase,
  wait: 'block' | 'spin',
): Promise<StallFigures> {
  // Its handler reads the first region of a handshake only.
  const load = { ...loadOf(options), regions: 1 }
  const ends = await pagebase.startEnds(load.mib, wait)
  try {
    return fromPagebase(await pagebase.runClient(ends.socketPath, load))
  } finally {
    await ends.stop()
  }
}

/** A fresh source and a fresh destination, so that a first stall is a first stall. */
async function withEnds<T>(
  { faultlane, bytes }: FaultBenchOptions,
  wait: WaitMode,
  run: (socketPath: string) => Promise<T>,
): Promise<T> {
  const source = await startSource(faultlane, { bytes, wait })
  try {
    const flags = ['--source', source.url, '--wait', wait, '--prefault', 'off']
    const destination = await DestinationProcess.start(faultlane, flags)
    try {
      return await Promise.race([run(destination.socketPath), destination.died()])
    } finally {
      await destination.stop()
    }
  } finally {
    await source.stop()
  }
}

async function ourClient(options: FaultBenchOptions, socketPath: string): Promise<StallFigures> {
  const { bytes, touches, order, threads, regions, thinkNs } = options
  const pages = touchOrder(order, bytes / PAGE_BYTES, touches, SEED)
  const client = await MeasuredClient.open({ bytes, order: pages, vcpus: threads, thinkNs })
  try {
    await client.touch({ socketPath, regions })
    client.expectNoneCorrupt()
    return client.figures().stalls
  } finally {
    await client.close()
  }
}

/**
 * What the kernel will give the client is likely among this. Where a virtual machine's host has to find every page first, whoever
 * brings them is as slow as that: 0.3 to 0.6 GB/s, us and the reference alike (Firecracker, 2 × AMD EPYC).
 */
function findMemory({ bytes, freeBytes }: FaultBenchOptions): void {
  touchFreeMemory(4 * bytes, freeBytes())
}

/** MB/s from the handshake to the last page, nobody touching anything; then every byte is checked. */
async function prefaultRate(options: FaultBenchOptions, settleMs: number): Promise<number> {
  const { faultlane, bytes } = options
  if (settleMs === 0) findMemory(options)
  const source = await startSource(faultlane, { bytes, wait: 'adaptive' })
  try {
    const destination = await DestinationProcess.start(faultlane, ['--source', source.url])
    try {
      await sleep(settleMs)
      if (settleMs > 0) findMemory(options)
      const ms = await untouched(
        bytes,
        destination.socketPath,
        async () => (await destination.nextReport()).elapsed_ms,
      )
      return bytes / 1000 / ms
    } finally {
      await destination.stop()
    }
  } finally {
    await source.stop()
  }
}

async function pagebasePrefaultRate(options: FaultBenchOptions, pagebase: Pagebase): Promise<number> {
  const { bytes } = options
  const ends = await pagebase.startEnds(bytes / 2 ** 20, 'block', true)
  try {
    findMemory(options)
    const ms = await untouched(bytes, ends.socketPath, async () => (await ends.prefaulted()).ms)
    return bytes / 1000 / ms
  } finally {
    await ends.stop()
  }
}

/** A client that touches nothing until `done`, then checks everything. */
async function untouched(bytes: number, socketPath: string, done: () => Promise<number>): Promise<number> {
  const client = await MeasuredClient.open({ bytes, order: touchOrder('seq', 1, 0), vcpus: 1, thinkNs: 0 })
  try {
    await client.touch({ socketPath })
    const ms = await done()
    await client.sweep()
    client.expectNoneCorrupt()
    return ms
  } finally {
    await client.close()
  }
}

function fromPagebase(figures: PagebaseClientFigures): StallFigures {
  const { touches, stalled, first_us, p50_us, p90_us, p99_us, p999_us, max_us, stall_ms } = figures
  const line_us = STALL_NS_MIN / 1000 // Its own, wherever it runs.
  return {
    touches,
    line_us,
    count: stalled,
    first_us,
    p50_us,
    p90_us,
    p99_us,
    p999_us,
    max_us,
    sum_ms: stall_ms,
  }
}
