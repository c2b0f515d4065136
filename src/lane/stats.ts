/** What each lane counts. One writer each; the main thread reads. */
export const DEMAND_COUNTERS = [
  'faults',
  'demanded',
  'zero',
  'removed',
  'spurious',
  'joined',
  'promoted',
  /** Pages that came when they were there already: there is no way that this could happen. */
  'duplicate',
  'hedged',
  'errors',
  'again',
  'bytesReceived',
  'hintsLost',
  'backlogged',
] as const

export const PREFAULT_COUNTERS = [
  'prefaulted',
  'late',
  'zero',
  'duplicate',
  'errors',
  /** Pages that came and that the kernel would not take for this client. */
  'refused',
  'again',
  'bytesReceived',
  'reads',
  'gated',
  /** Microseconds from the first read of a session to its last completion. */
  'activeUs',
] as const

export type DemandCounter = (typeof DEMAND_COUNTERS)[number]
export type PrefaultCounter = (typeof PREFAULT_COUNTERS)[number]
