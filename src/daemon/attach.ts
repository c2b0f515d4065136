/**
 * A fault handler: learns the source's image, starts the demand agent (and the prefault agent), and closes them in
 * reverse. One attachment serves one client at a time; a process may hold several.
 */
import { FaultlaneError } from '../errors.ts'
import { Errand } from '../fault/errand.ts'
import type { AgentEvent } from '../lane/agent-event.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import type { LossPolicy } from '../lane/client-session.ts'
import type { Neighbourhood } from '../lane/neighbours.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../lane/stats.ts'
import { isOn, type LevelName, requireLevels } from '../levels.ts'
import { EventFd } from '../native/event-fd.ts'
import { type SchedulingName, schedulingOf } from '../prefault/schedulings.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import type { ImageInfo } from '../transport/transport.ts'
import type { Affinity } from '../workers/affinity.ts'
import { allocateRehearsals, beginWaiting, endWaiting } from '../workers/eager-compiler.ts'
import type { AttachImage, AttachPlan, AttachSettings, WorkerMessage } from '../workers/plans.ts'
import { type RunningWorker, spawnWorker, watchOver } from '../workers/spawn.ts'
import { type Role, startThread, type Thread } from '../workers/thread.ts'
import { loadTransport, schemeOf } from '../workers/transports.ts'
import type { WaitMode } from '../workers/wait.ts'
import { resolveUrl } from './resolve-url.ts'

export interface AttachOptions {
  /** Unix socket on which the client hands over its userfaultfd. */
  readonly socket: string
  /** URL of the page source. */
  readonly source: string
  /** What to fetch ahead: nothing, or address order from the last fault on. Default: sequential. */
  readonly prefault?: 'off' | 'sequential'
  /** How the demand agent waits between turns. Default: adaptive. */
  readonly wait?: WaitMode
  /** The processor that the demand agent’s thread keeps to; auto: with two of them the first, or the second where that is faster. Default: auto. */
  readonly affinity?: Affinity
  /** When the source is gone: touchers wait for it, or the client is killed (SIGKILL). Default: wait. */
  readonly onLoss?: LossPolicy
  /** Goes on listening after a client has ended. Default: false. */
  readonly keep?: boolean
  /** Bytes of the client's pages: 4096, or 2 MiB for hugetlb. Default: 4096. */
  readonly pageSize?: number
  /** Who gets the wire when. Default: S2, Faultlane; the others are there to be compared with. */
  readonly scheduling?: SchedulingName
  /** Levels to switch off, to see what each is worth. Default: none. */
  readonly without?: readonly LevelName[]
  /** File URL of a third party's transport module. */
  readonly transport?: string
  /** Of several handlers in one process: what they know of each other, and the rehearsals that they share. Default: nothing, each is as if it were alone. */
  readonly neighbourhood?: Neighbourhood
  /** Told how to stop, before there is anything that a sudden end would leave behind. */
  readonly onStarting?: (stop: () => Promise<void>) => void
  /** Told when a client comes, is refused or has ended, and when the source is lost or back. */
  readonly onEvent?: (event: AgentEvent) => void
  /** Told that a worker has died: the attachment is good for close() only. */
  readonly onFailed?: (error: FaultlaneError) => void
}

/** What has been done so far for the client of the moment. */
export interface AttachProgress {
  /** Pages that are neither there nor known to be zero. */
  readonly remaining: number
  /** Pages that threads stand still for now. */
  readonly pending: number
  /** Pages brought by each lane since the attachment began, with content. */
  readonly demanded: number
  readonly prefaulted: number
}

export interface Attachment {
  /** Pages of the source's image, and bytes of each. */
  readonly pageCount: number
  readonly pageSize: number
  /** Identifies the frozen image: 16 hexadecimal digits. */
  readonly imageId: string
  progress(): AttachProgress
  /** Resolves when the demand agent has ended: after its only client, or after close(). */
  readonly ended: Promise<void>
  /** Ends both lanes and lets the client go as it is: pages that have not come stay missing. More than once is safe. */
  close(): Promise<void>
}

/**
 * Starts a fault handler and resolves once clients may connect; prefault follows within 100 ms. Throws CONNECT_FAILED, PROTOCOL, VERSION_MISMATCH,
 * GEOMETRY_MISMATCH, ADDRESS_IN_USE, BAD_ARGUMENT, NATIVE_UNAVAILABLE.
 *
 * Until then, and for some 300 ms after it or until a client comes, the engine compiles eagerly in all threads of the process.
 */
export function attach(options: AttachOptions): Promise<Attachment> {
  return attachWith(undefined, options)
}

/**
 * As attach().
 * @param started the demand agent's thread, of a program that has started it ahead; one that is told nothing is the caller's
 */
export async function attachWith(started: Thread | undefined, options: AttachOptions): Promise<Attachment> {
  const sourceUrl = await resolveUrl(options.source)
  const without = requireLevels(options.without ?? [], 'attach', schemeOf(sourceUrl))
  const pageBytes = options.pageSize ?? 4096
  const transport = await loadTransport(sourceUrl, options.transport)
  const prefault = options.prefault ?? 'sequential'
  const scheduling = options.scheduling ?? 'S2'
  const memory = allocateBoard()
  const home = options.neighbourhood && moveInto(options.neighbourhood)
  // It starts, and rehearses, while this thread asks the source what it has.
  let demandThread: Thread
  try {
    demandThread = started ?? startThread('demand')
  } catch (error) {
    home?.leave()
    throw error
  }
  const hasPrefaultAgent = prefault !== 'off' && !schedulingOf(scheduling, without).isShared
  const hasTwin = hasPrefaultAgent && schemeOf(sourceUrl) === 'shm' && isOn('twin', without)
  const errand = hasTwin ? Errand.allocate() : undefined
  const settings: AttachSettings = {
    socketPath: options.socket,
    sourceUrl,
    transportModule: options.transport,
    pageBytes,
    wait: options.wait ?? 'adaptive',
    affinity: without.includes('affinity') ? 'off' : (options.affinity ?? 'auto'),
    scheduling,
    without,
    prefault,
    onLoss: options.onLoss ?? 'wait',
    keep: options.keep ?? false,
    board: memory,
    demandCounters: Counters.allocate(DEMAND_COUNTERS.length),
    prefaultCounters: Counters.allocate(PREFAULT_COUNTERS.length),
    stalls: LatencyHistogram.allocate(),
    promotedWaits: LatencyHistogram.allocate(),
    errand,
    rehearsals: rehearsalsOf(options.neighbourhood),
    neighbours: home && { memory: home.neighbourhood.memory, place: home.place },
  }
  beginWaiting(settings.rehearsals)
  const onMessage = (message: WorkerMessage) => {
    if (message.kind === 'agent') options.onEvent?.(message.event)
    if (message.kind === 'failed') options.onFailed?.(new FaultlaneError(message.failure))
  }
  const demandWorker = watchOver('demand', demandThread, onMessage)
  demandWorker.post(settings)
  const workers: RunningWorker[] = [demandWorker]
  const board = new Board(memory)
  let demandEvent: EventFd | undefined
  let prefaultEvent: EventFd | undefined
  const demandBell = board.demandBell({ signal: () => demandEvent?.signal(), sleep: () => {} })
  const prefaultBell = board.prefaultBell({ signal: () => prefaultEvent?.signal(), sleep: () => {} })
  // Demand first, while the prefault agent can still let go; then prefault; then what they shared.
  const stop = async () => {
    demandBell.stop()
    await demandWorker.ended
    prefaultBell.stop()
    if (errand) new Errand(errand).bell.stop()
    await Promise.all(workers.map((worker) => worker.ended))
    demandEvent?.close()
    prefaultEvent?.close()
    home?.leave()
  }
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= stop()
    return closing
  }
  let info: ImageInfo
  let image: AttachImage | null = null
  try {
    try {
      demandEvent = new EventFd()
      prefaultEvent = new EventFd()
      info = transport.describe(sourceUrl, { pageSize: pageBytes })
      image = {
        pageCount: info.pageCount,
        imageId: info.imageId,
        dataExtents: info.dataExtents,
        table: allocateTable(info.pageCount),
        demandBellFd: demandEvent.fd,
        prefaultBellFd: prefaultEvent.fd,
      }
      // Until now a signal would have waited for the source's answer, and there is nothing to leave behind.
      options.onStarting?.(close)
    } finally {
      demandWorker.post(image)
    }
    await demandWorker.ready
  } catch (error) {
    await close()
    throw error
  } finally {
    endWaiting(settings.rehearsals)
  }
  // Clients may come. Who fetches ahead follows: its start takes the processor that compiles what the demand agent rehearses.
  const plan: AttachPlan = { ...settings, ...image }
  const follow = (role: Role) => {
    const worker = spawnWorker(role, plan, onMessage)
    workers.push(worker)
    // In order, as before ready: no socket is left behind by what could not start.
    worker.ready.catch((error) => closing ?? close().then(() => options.onFailed?.(error as FaultlaneError)))
  }
  try {
    if (hasPrefaultAgent && !closing) follow('prefault')
    if (errand && !closing) follow('placing')
  } catch (error) {
    await close()
    throw error
  }
  const demand = new Counters(DEMAND_COUNTERS, settings.demandCounters)
  const prefaulted = new Counters(PREFAULT_COUNTERS, settings.prefaultCounters)
  return {
    pageCount: info.pageCount,
    pageSize: pageBytes,
    imageId: info.imageId,
    progress: () => ({
      remaining: board.remaining(),
      pending: board.pending(),
      demanded: demand.read(demand.indexOf('demanded')),
      prefaulted: prefaulted.read(prefaulted.indexOf('prefaulted')),
    }),
    ended: demandWorker.ended.then(close),
    close,
  }
}

function moveInto(neighbourhood: Neighbourhood) {
  const place = neighbourhood.join()
  return { neighbourhood, place, leave: () => neighbourhood.leave(place) }
}

const sharedRehearsals = new WeakMap<Neighbourhood, Int32Array<SharedArrayBuffer>>()

/** Of all handlers of a neighbourhood together: the engine's settings are the whole process's. */
function rehearsalsOf(neighbourhood: Neighbourhood | undefined): Int32Array<SharedArrayBuffer> {
  if (!neighbourhood) return allocateRehearsals()
  const known = sharedRehearsals.get(neighbourhood) ?? allocateRehearsals()
  sharedRehearsals.set(neighbourhood, known)
  return known
}

/** One byte a page, taken from the system page by page as the client's regions are written into it. */
function allocateTable(pageCount: number): SharedArrayBuffer {
  try {
    return new SharedArrayBuffer(pageCount)
  } catch (cause) {
    throw new FaultlaneError(
      {
        code: 'BAD_ARGUMENT',
        what: 'image of the source',
        got: `${pageCount} pages`,
        expected: 'no more pages than there are bytes of memory for their states',
      },
      { cause },
    )
  }
}
