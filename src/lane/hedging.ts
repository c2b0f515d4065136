/**
 * Whether a promoted page, which a thread waits for while prefault has it in flight, is asked for a second time, on
 * the demand lane. Pure. Whichever copy comes first is placed, the other is dropped; each second request is counted.
 */
export interface Hedging {
  /** The thread has waited so long, and so many times what a demand read takes. */
  readonly waitedNsMin: number
  readonly waitedReadsMin: number
  /** Second requests over faults, at most: 1 hedges every one. */
  readonly shareMax: number
}

/**
 * What prefault has in flight is due within a read or two of demand's; what is not has lost its thread's processor,
 * or stands behind a packet that was lost. A millisecond, because the scheduler's turns are as long.
 */
export const HEDGE_LATE: Hedging = { waitedNsMin: 1e6, waitedReadsMin: 4, shareMax: 0.01 }

/** Nothing is promoted: every such page is asked for at once (level `promotion` off). */
export const HEDGE_ALL: Hedging = { waitedNsMin: 0, waitedReadsMin: 0, shareMax: 1 }

/** @param readNs what a demand read takes, smoothed; 0: none has been made, and nothing can be called late */
export function isHedgeDue(
  hedging: Hedging,
  waitedNs: number,
  readNs: number,
  faults: number,
  hedged: number,
): boolean {
  if (hedged >= hedging.shareMax * faults) return false
  if (readNs === 0 && hedging.waitedReadsMin > 0) return false
  return waitedNs >= Math.max(hedging.waitedNsMin, hedging.waitedReadsMin * readNs)
}
