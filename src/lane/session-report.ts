/** What one client's session came to: plain numbers, made by the demand agent when both lanes have let go. */
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import type { DemandCounter, PrefaultCounter } from './stats.ts'

export type SessionEnd =
  /** Every page is there and the client no longer depends on us. */
  | 'complete'
  /** The client is gone: it exited, was killed, or hung up. */
  | 'client-gone'
  /** We were told to stop before the memory was complete. */
  | 'stopped'
  /** The source is gone and the declared policy was to kill the client. */
  | 'source-lost'

export interface SessionReport {
  readonly end: SessionEnd
  readonly elapsedMs: number
  readonly pageBytes: number
  readonly pagesTotal: number
  /** Pages neither there nor known to be zero at the end. */
  readonly pagesRemaining: number
  /** Pages known to be zero before anything was read. */
  readonly holePages: number
  /** Removals read beside an open placement; see UffdFaults.racedRemovals. */
  readonly removedRaced: number
  readonly demand: Record<DemandCounter, number>
  readonly prefault: Record<PrefaultCounter, number>
  /** Stalls as the demand agent sees them, from reading the fault to the page being placed, nanoseconds. */
  readonly stallNs: WaitFigures
  /** Of these, the waits for a page that prefault had in flight already and that came. */
  readonly promotedNs: WaitFigures
}

/** Durations in nanoseconds; the maximum is exact where it is the longest so far, else the middle of its bucket. */
export interface WaitFigures {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export function waitFigures(waits: LatencySnapshot): WaitFigures {
  return {
    count: waits.count,
    p50: waits.percentileNs(50),
    p90: waits.percentileNs(90),
    p99: waits.percentileNs(99),
    p999: waits.percentileNs(99.9),
    max: waits.maxNs,
  }
}
