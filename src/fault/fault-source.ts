/**
 * Where faults come from and where pages go: a userfaultfd session of another process, or LazyMemory in this
 * one. Integers only. The demand agent owns the FaultSource; every thread that places has its own Placer.
 */
export interface FaultSink {
  /** A thread stands still for the page. Called once per waiting thread, so maybe several times for a page. */
  onFault(page: number): void
  /** The client gave the pages back: from now on they read zero. */
  onRemove(firstPage: number, pageCount: number): void
}

export interface FaultSource {
  /** Becomes readable when there are faults; −1: only polling tells. */
  readonly pollFd: number
  /**
   * Hands over the faults that are there, without waiting, removals first; how many events. −1: the client is gone.
   */
  pollFaults(sink: FaultSink): number
}

/** Why a placement stopped. */
export const PLACED = {
  ALL: 0,
  /** Not now: the client is changing its memory, or there is no memory. Try again after its events were read. */
  AGAIN: 1,
  /** The client is gone. */
  GONE: 2,
} as const

export interface Placer {
  /** PLACED of the last call. */
  status: number
  /** Copies pages in and wakes whoever waits for them; how many pages from the first on are there now. */
  place(firstPage: number, pageCount: number, address: number): number
  /** The same with zero bytes. */
  placeZero(firstPage: number, pageCount: number): number
  /** Wakes whoever waits for a page that is there. */
  wake(page: number): void
  /**
   * The source cannot give the pages now. Whoever can be told so fails (a reader of LazyMemory, with PAGE_LOST);
   * a thread that stands in a userfaultfd cannot, and goes on waiting.
   */
  lose(firstPage: number, pageCount: number): void
}
