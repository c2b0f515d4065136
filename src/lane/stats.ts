/** What each lane counts. One writer each; the main thread reads. */
export const DEMAND_COUNTERS = [
  'faults',
  'demanded',
  'zero',
  'removed',
  'spurious',
  'joined',
  'promoted',
  'duplicate',
  'hedged',
  'errors',
  'again',
  'bytesReceived',
  'reconnects',
  'hintsLost',
  'backlogged',
] as const

export const PREFAULT_COUNTERS = [
  'prefaulted',
  'late',
  'zero',
  'duplicate',
  'errors',
  'again',
  'bytesReceived',
  'reads',
  'gated',
  'reconnects',
  /** Microseconds from the first read of a session to its last completion. */
  'activeUs',
] as const

export type DemandCounter = (typeof DEMAND_COUNTERS)[number]
export type PrefaultCounter = (typeof PREFAULT_COUNTERS)[number]
