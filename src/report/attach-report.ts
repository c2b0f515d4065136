/** What `attach --json` writes: the figures of one client's session in the field's words. */
import type { SessionEnd, SessionReport, WaitFigures } from '../lane/session-report.ts'

export interface AttachReport {
  readonly end: SessionEnd
  readonly pages: {
    readonly total: number
    /** Brought by the demand lane, with content. */
    readonly demanded: number
    /** Brought by the prefault lane, with content. */
    readonly prefaulted: number
    /** Known to be zero: holes of the image, and pages the source answered with "zero". */
    readonly zero: number
    /** Given back by the client (UFFD_EVENT_REMOVE). */
    readonly removed: number
    readonly hedged: number
    /** Came twice without being hedged: a fault of ours. */
    readonly duplicate: number
    readonly remaining: number
  }
  /** Page bytes over all channels, without headers. */
  readonly bytes_received: number
  /** From reading the fault to the page being placed, microseconds. */
  readonly demand_us: WaitsUs
  readonly prefault: {
    /** There before anybody asked. Touches of a present page cannot be seen, so this is an upper bound. */
    readonly useful: number
    /** Asked for while in flight. */
    readonly late: number
    /** Asked for: pages over reads is how long they were. */
    readonly reads: number
    readonly mb_per_s: number
  }
  readonly promoted: number
  /** Of `demand_us`, the faults that were promoted and whose page came: from reading the fault to its page being seen. */
  readonly promoted_us: WaitsUs
  readonly spurious: number
  /** Pages that the source could not read. */
  readonly errors: number
  /** Pages that came by prefault and that the kernel would not take for this client. */
  readonly refused: number
  /** Removals whose pages may have got snapshot bytes after all (see ARCHITECTURE.md); 0 has always been seen. */
  readonly removed_raced: number
  readonly elapsed_ms: number
  /** The handler's; '' where the caller has not said. */
  readonly socket: string
  readonly transport: string
  readonly wait: string
  readonly scheduling: string
  /** Levels that were switched off. */
  readonly without: readonly string[]
  readonly node: string
}

/** Durations in microseconds. */
export interface WaitsUs {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface ReportContext {
  /** Default: ''. */
  readonly socket?: string
  readonly transport: string
  readonly wait: string
  readonly scheduling: string
  /** Levels that were switched off. Default: none. */
  readonly without?: readonly string[]
  readonly node: string
}

const round = (value: number, digits: number) => Number(value.toFixed(digits))

export function attachReport(report: SessionReport, context: ReportContext): AttachReport {
  const { demand, prefault } = report
  const activeUs = prefault.activeUs
  return {
    end: report.end,
    pages: {
      total: report.pagesTotal,
      demanded: demand.demanded,
      prefaulted: prefault.prefaulted,
      zero: report.holePages + demand.zero + prefault.zero,
      removed: demand.removed,
      hedged: demand.hedged,
      duplicate: demand.duplicate + prefault.duplicate,
      remaining: report.pagesRemaining,
    },
    bytes_received: demand.bytesReceived + prefault.bytesReceived,
    demand_us: waitsUs(report.stallNs),
    prefault: {
      useful: prefault.prefaulted - prefault.late,
      late: prefault.late,
      reads: prefault.reads,
      mb_per_s: activeUs > 0 ? round((prefault.prefaulted * report.pageBytes) / activeUs, 1) : 0,
    },
    promoted: demand.promoted,
    promoted_us: waitsUs(report.promotedNs),
    spurious: demand.spurious,
    errors: demand.errors + prefault.errors,
    refused: prefault.refused,
    removed_raced: report.removedRaced,
    elapsed_ms: round(report.elapsedMs, 1),
    socket: context.socket ?? '',
    transport: context.transport,
    wait: context.wait,
    scheduling: context.scheduling,
    without: context.without ?? [],
    node: context.node,
  }
}

function waitsUs({ count, p50, p90, p99, p999, max }: WaitFigures): WaitsUs {
  const us = (ns: number) => round(ns / 1000, 1)
  return { count, p50: us(p50), p90: us(p90), p99: us(p99), p999: us(p999), max: us(max) }
}
