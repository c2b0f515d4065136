/**
 * One measurement of `bench isolation`: a client faults while its prefault saturates the link. Demand is measured
 * only while prefault is running; what it is compared with is the same with prefault off.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { PHASE } from '../fault/toucher.ts'
import type { WaitsUs } from '../report/attach-report.ts'
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import {
  machineBusyNs,
  machineStolenNs,
  ProcessTime,
  ResidentMemory,
  reportsFreeMemory,
} from './proc-file.ts'
import { Session, type SessionSetup } from './session.ts'
import { StillWatch } from './still-watch.ts'

export interface CellSample {
  readonly latency: LatencySnapshot
  readonly latenessP99Us: number
  /** Touches that stood still for a page, and those that found it there. */
  readonly faults: number
  readonly hits: number
  readonly windowMs: number
  /** Bytes placed ahead of demand in the window, over its length. */
  readonly prefaultMBps: number
  readonly demandMBps: number
  /** Processor time of handler and source in the window, over the bytes placed in it. */
  readonly cpuSecondsPerGB: number
  /** Over the whole session: pages with content that came, without those sent twice on purpose, over pages wanted. */
  readonly sentPerUnique: number
  readonly duplicate: number
  readonly hedged: number
  /** Faults on a page that prefault had in flight. */
  readonly promoted: number
  /** How long those whose page came waited for it, as the handler sees it, over the whole session. */
  readonly promotedUs: WaitsUs
  /** Processors that others kept busy meanwhile. */
  readonly foreignCores: number
  /** Processors that the host of this virtual machine kept from it meanwhile. */
  readonly stolenCores: number
  /** Milliseconds of each second in which the machine stood still; null where that cannot be watched. */
  readonly stillMsPerS: number | null
}

export interface CellLimits {
  readonly warmMs: number
  readonly measureMs: number
}

/** A look costs a processor that is busy up to a millisecond: it comes when half of what prefault has left may have come. */
const LOOK_MS_MIN = 20
const LOOK_MS_MAX = 400
/** Prefault counts as running until this share of the memory is there. */
const DONE_SHARE = 0.97

/** The bench's process, which is the client's too. */
interface Own {
  readonly time: ProcessTime
  readonly memory: ResidentMemory
}

/**
 * Free page reporting comes 2 s after memory was freed, and while the host takes it back, faults of the whole machine stand
 * still for 10 to 100 ms: so the memory of the client before is given up before there is another to measure.
 */
const REPORTED_MS = 2500
/** Below that there is little to report. */
const FREED_BYTES_MIN = 256 << 20

export async function runCell(
  setup: SessionSetup,
  limits: CellLimits,
  signal: AbortSignal,
  onHandedOver: () => void = () => {},
): Promise<CellSample> {
  if (setup.link.imageBytes >= FREED_BYTES_MIN && reportsFreeMemory())
    await delay(REPORTED_MS, undefined, { signal })
  const own: Own = { time: new ProcessTime('self'), memory: new ResidentMemory() }
  let still: StillWatch | undefined
  try {
    still = await StillWatch.start()
    const baseBytes = own.memory.bytes()
    const session = await Session.start(setup)
    try {
      onHandedOver()
      return await measure(session, setup, limits, own, baseBytes, still, signal)
    } catch (error) {
      await session.abandon()
      throw error
    }
  } finally {
    own.time.close()
    own.memory.close()
    await still?.end()
  }
}

async function measure(
  session: Session,
  setup: SessionSetup,
  limits: CellLimits,
  own: Own,
  baseBytes: number,
  still: StillWatch | undefined,
  signal: AbortSignal,
): Promise<CellSample> {
  const { client, handler } = session
  const { source, imageBytes } = setup.link
  client.setPhase(PHASE.WARM)
  await delay(limits.warmMs, undefined, { signal })
  const load = {
    busyNs: machineBusyNs(),
    stolenNs: machineStolenNs(),
    stillMs: still?.ms() ?? 0,
    ownNs: own.time.ns() + handler.cpuNs() + source.cpuNs(),
  }
  const before = { ms: performance.now(), bytes: own.memory.bytes(), cpuNs: handler.cpuNs() + source.cpuNs() }
  client.setPhase(PHASE.MEASURE)
  const after = { ...before }
  const enoughBytes = DONE_SHARE * imageBytes + baseBytes
  for (let lookMs = LOOK_MS_MIN; ; ) {
    await delay(lookMs, undefined, { signal })
    if (handler.isEnded) break
    after.ms = performance.now()
    after.bytes = own.memory.bytes()
    after.cpuNs = handler.cpuNs() + source.cpuNs()
    const ms = after.ms - before.ms
    if (ms >= limits.measureMs || after.bytes >= enoughBytes) break
    const leftMs = ((enoughBytes - after.bytes) * ms) / Math.max(1, after.bytes - before.bytes)
    lookMs = Math.min(limits.measureMs - ms, Math.max(LOOK_MS_MIN, Math.min(leftMs / 2, LOOK_MS_MAX)))
  }
  const ownNs = after.cpuNs + own.time.ns() - load.ownNs
  const foreignNs = machineBusyNs() - load.busyNs - ownNs
  const stolenNs = machineStolenNs() - load.stolenNs
  const stillMs = still && still.ms() - load.stillMs
  client.setPhase(PHASE.STOP)
  const touched = await client.touched()
  const report = await session.finish(setup.scheduling !== 'off')
  const windowMs = after.ms - before.ms
  const bytes = after.bytes - before.bytes
  const demandBytes = touched.faults * 4096
  const pages = report.pages
  return {
    latency: touched.latency,
    latenessP99Us: touched.lateness.percentileNs(99) / 1000,
    faults: touched.faults,
    hits: touched.hits,
    windowMs,
    prefaultMBps: setup.scheduling === 'off' ? 0 : Math.max(0, bytes - demandBytes) / windowMs / 1000,
    demandMBps: demandBytes / windowMs / 1000,
    cpuSecondsPerGB: bytes > 0 ? (after.cpuNs - before.cpuNs) / bytes : 0,
    sentPerUnique:
      (report.bytes_received / 4096 - pages.hedged) / Math.max(1, pages.demanded + pages.prefaulted),
    duplicate: pages.duplicate,
    hedged: pages.hedged,
    promoted: report.promoted,
    promotedUs: report.promoted_us,
    foreignCores: Math.max(0, foreignNs / 1e6 / windowMs),
    stolenCores: stolenNs / 1e6 / windowMs,
    stillMsPerS: stillMs === undefined ? null : (1000 * stillMs) / windowMs,
  }
}
