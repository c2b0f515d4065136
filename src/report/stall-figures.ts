/** What a client's touches came to: exact, from every single one of them. */
import { stallLineNs } from '../fault/first-touch.ts'

/**
 * A touch of a page that is there costs well under it, a fault well over; `pagebase client` draws the same line. Where the first touch of such
 * a page is slow (fault/first-touch.ts) the line is drawn further up.
 */
export const STALL_NS_MIN = 2000

export interface StallFigures {
  readonly touches: number
  /** A touch that took no longer found its page there. */
  readonly line_us: number
  /** Touches that stood still. */
  readonly count: number
  /** The first touch of all, stall or not. */
  readonly first_us: number
  readonly p50_us: number
  readonly p90_us: number
  readonly p99_us: number
  readonly p999_us: number
  readonly max_us: number
  readonly sum_ms: number
}

const round = (value: number) => Number(value.toFixed(2))

/** @param firstTouchNs the least that measureFirstTouchNs() says of the threads that touched: what delayed one hides no stall of another */
export function stallFigures(touchNs: Float64Array, firstTouchNs = 0): StallFigures {
  const lineNs = stallLineNs(STALL_NS_MIN, firstTouchNs)
  const stalls = touchNs.filter((ns) => ns > lineNs).sort()
  const count = stalls.length
  const us = (share: number) => round((stalls[Math.min(count - 1, Math.floor(count * share))] ?? 0) / 1000)
  return {
    touches: touchNs.length,
    line_us: round(lineNs / 1000),
    count,
    first_us: round((touchNs[0] ?? 0) / 1000),
    p50_us: us(0.5),
    p90_us: us(0.9),
    p99_us: us(0.99),
    p999_us: us(0.999),
    max_us: us(1),
    sum_ms: round(stalls.reduce((sum, ns) => sum + ns, 0) / 1e6),
  }
}
