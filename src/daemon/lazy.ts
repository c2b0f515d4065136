/**
 * Memory of this process whose pages come from a source on use: starts the demand agent (and the prefault agent)
 * of a LazyMemory, and closes them in reverse. Needs no userfaultfd and no privilege.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { FaultlaneError } from '../errors.ts'
import { allocateLazyMemory } from '../fault/lazy-layout.ts'
import type { LazyMemory } from '../fault/lazy-memory.ts'
import type { AgentEvent } from '../lane/agent-event.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../lane/stats.ts'
import { PageTable } from '../memory/page-table.ts'
import { EventFd } from '../native/event-fd.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { joinLazyMemory, type LazyShare } from '../workers/lazy-join.ts'
import type { LazyPlan, WorkerMessage } from '../workers/plans.ts'
import { type RunningWorker, spawnWorker } from '../workers/spawn.ts'
import { loadTransport } from '../workers/transports.ts'
import type { WaitMode } from '../workers/wait.ts'
import { resolveUrl } from './resolve-url.ts'

export { joinLazyMemory, type LazyShare }

/** Asking takes microseconds; a thread that takes longer has been ended. */
const ASKING_MS_MAX = 100

export interface LazyOptions {
  /** URL of the page source. */
  readonly source: string
  /** What to fetch ahead: nothing, or address order from the last fault on. Default: sequential. */
  readonly prefault?: 'off' | 'sequential'
  /** How the demand agent waits between turns. Default: adaptive. */
  readonly wait?: WaitMode
  /** S1: prefault unrestrained, to be compared with. The demand agent of a LazyMemory never shares its connection. */
  readonly scheduling?: 'S1' | 'S2'
  /** How long a read may wait for one page, milliseconds. Default: 30,000. */
  readonly timeoutMs?: number
  /** Bytes of a page, a power of two from 4096 that divides the image. Default: 4096. */
  readonly pageSize?: number
  /** File URL of a third party's transport module. */
  readonly transport?: string
  /** Told when the source is lost or back. */
  readonly onEvent?: (event: AgentEvent) => void
  /** Told that a worker has died: whoever waits for a page comes back with PAGE_LOST. */
  readonly onFailed?: (error: FaultlaneError) => void
}

/** What has come so far. It follows what can be read by a moment. */
export interface LazyProgress {
  /** Pages that are neither here nor known to be zero. */
  readonly remaining: number
  /** Pages brought by each lane, with content. */
  readonly demanded: number
  readonly prefaulted: number
  /** Page bytes over both channels, without headers. */
  readonly bytesReceived: number
}

export interface OpenLazyMemory {
  /** For the thread that opened it. */
  readonly memory: LazyMemory
  /** Identifies the frozen image: 16 hexadecimal digits. */
  readonly imageId: string
  /** Plain data for another thread of this process (workerData), which makes its own end of it by joinLazyMemory(). */
  readonly share: LazyShare
  progress(): LazyProgress
  /** Ends the agents; whoever waits for a page comes back with PAGE_LOST, what is here stays readable. */
  close(): Promise<void>
}

/** Opens the whole image of a source as memory. Throws CONNECT_FAILED, PROTOCOL, VERSION_MISMATCH, BAD_ARGUMENT. */
export async function openLazyMemory(options: LazyOptions): Promise<OpenLazyMemory> {
  const sourceUrl = await resolveUrl(options.source)
  const pageBytes = options.pageSize ?? 4096
  const transport = await loadTransport(sourceUrl, options.transport)
  const { pageCount, imageId, dataExtents } = transport.describe(sourceUrl, { pageSize: pageBytes })
  const lazy = allocateLazyMemory(pageCount * pageBytes, pageBytes)
  const board = new Board(allocateBoard())
  const table = PageTable.allocate(pageCount)
  board.setRemaining(pageCount - table.resetToImage(0, pageCount, dataExtents))
  const demandEvent = new EventFd()
  const prefaultEvent = new EventFd()
  const prefault = options.prefault ?? 'sequential'
  const plan: LazyPlan = {
    lazy,
    sourceUrl,
    transportModule: options.transport,
    pageBytes,
    wait: options.wait ?? 'adaptive',
    scheduling: options.scheduling ?? 'S2',
    without: [],
    prefault,
    pageCount,
    imageId,
    dataExtents,
    table: table.buffer,
    board: board.memory,
    demandCounters: Counters.allocate(DEMAND_COUNTERS.length),
    prefaultCounters: Counters.allocate(PREFAULT_COUNTERS.length),
    stalls: LatencyHistogram.allocate(),
    promotedWaits: LatencyHistogram.allocate(),
    demandBellFd: demandEvent.fd,
    prefaultBellFd: prefaultEvent.fd,
    errand: undefined,
  }
  const share: LazyShare = {
    lazy,
    board: plan.board,
    demandBellFd: plan.demandBellFd,
    timeoutMs: options.timeoutMs,
  }
  const memory = joinLazyMemory(share)
  const onMessage = (message: WorkerMessage) => {
    if (message.kind === 'agent') options.onEvent?.(message.event)
    if (message.kind !== 'failed') return
    memory.close() // Without its agent nothing comes any more: readers must not wait for it.
    options.onFailed?.(new FaultlaneError(message.failure))
  }
  const workers: RunningWorker[] = [spawnWorker('lazy', plan, onMessage)]
  if (prefault !== 'off') workers.push(spawnWorker('prefault', plan, onMessage))
  const stop = async () => {
    memory.close()
    board.prefaultBell({ signal: () => prefaultEvent.signal(), sleep: () => {} }).stop()
    board.demandBell({ signal: () => demandEvent.signal(), sleep: () => {} }).stop()
    await Promise.all(workers.map((worker) => worker.ended))
    prefaultEvent.close()
    for (let ms = 0; memory.isAsking && ms < ASKING_MS_MAX; ms++) await delay(1)
    // A thread that was ended while it asked leaves the descriptor open: better than a wake into a recycled one.
    if (!memory.isAsking) demandEvent.close()
  }
  try {
    await Promise.all(workers.map((worker) => worker.ready))
  } catch (error) {
    await stop()
    throw error
  }
  const demand = new Counters(DEMAND_COUNTERS, plan.demandCounters)
  const prefaulted = new Counters(PREFAULT_COUNTERS, plan.prefaultCounters)
  let closing: Promise<void> | undefined
  return {
    memory,
    imageId,
    share,
    progress: () => {
      const byDemand = demand.snapshot()
      const byPrefault = prefaulted.snapshot()
      return {
        remaining: board.remaining(),
        demanded: byDemand.demanded,
        prefaulted: byPrefault.prefaulted,
        bytesReceived: byDemand.bytesReceived + byPrefault.bytesReceived,
      }
    },
    close: () => {
      closing ??= stop()
      return closing
    },
  }
}
