/** What one client's session came to: plain numbers, made by the demand agent when both lanes have let go. */
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
  readonly stallNs: { count: number; p50: number; p90: number; p99: number; p999: number; max: number }
}
