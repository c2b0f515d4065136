/**
 * How many bytes the prefault lane may have in flight. Pure: time is handed in.
 */
import { PEER_READ_PAGES_MAX } from '../config.ts'

export interface Window {
  /** Bytes that may be in flight now. */
  bytes(demandPending: number, nowNs: number): number
  /** Pages of the next read, at most `pagesMax`. */
  readPages(pagesMax: number, nowNs: number): number
  /**
   * A thread has faulted on a page that was not here.
   *
   * @param isNear one that prefault has asked for lately, or is about to
   * @param isOfNeighbour it is another client of this process that waits
   */
  onDemand(nowNs: number, isNear: boolean, isOfNeighbour?: boolean): void
  /** A fault has been answered on the demand lane, `ns` after it was read. */
  onDemandAnswered(ns: number): void
  /** Whether such faults have come since the last call that the prefault thread is to rest beside them. */
  takeRest(): boolean
  /** A read of `bytes` has come back after `rttNs`. */
  onCompletion(bytes: number, rttNs: number, nowNs: number): void
}

/** Always the same, demand or not: what other handlers do. For comparison (`bench isolation`, S1). */
export class FixedWindow implements Window {
  readonly #bytes: number

  constructor(bytes: number) {
    this.#bytes = bytes
  }

  bytes(): number {
    return this.#bytes
  }

  readPages(pagesMax: number): number {
    return Math.min(pagesMax, PEER_READ_PAGES_MAX)
  }

  onDemand(): void {}

  onDemandAnswered(): void {}

  takeRest(): boolean {
    return false
  }

  onCompletion(): void {}
}

/** Nothing while a demand fault is pending, `bytesMax` else. */
export class GatedWindow implements Window {
  readonly #bytesMax: number

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  bytes(demandPending: number): number {
    return demandPending > 0 ? 0 : this.#bytesMax
  }

  readPages(pagesMax: number): number {
    return Math.min(pagesMax, PEER_READ_PAGES_MAX)
  }

  onDemand(): void {}

  onDemandAnswered(): void {}

  takeRest(): boolean {
    return false
  }

  onCompletion(): void {}
}

/** CRIU's: nothing while a demand is outstanding, one run at a time, longer with every quiet step, short again after a fault. */
export class GrowingWindow implements Window {
  readonly #start: number
  readonly #step: number
  readonly #max: number
  #limit: number

  constructor(start: number, step: number, max: number) {
    this.#start = start
    this.#step = step
    this.#max = max
    this.#limit = start
  }

  bytes(demandPending: number): number {
    if (demandPending > 0) this.#limit = this.#start
    return demandPending > 0 ? 0 : this.#limit
  }

  readPages(pagesMax: number): number {
    return Math.min(pagesMax, PEER_READ_PAGES_MAX)
  }

  onDemand(): void {}

  onDemandAnswered(): void {}

  takeRest(): boolean {
    return false
  }

  onCompletion(): void {
    this.#limit = Math.min(this.#limit + this.#step, this.#max)
  }
}

/** Another window that is told nothing of demand: its reads stay long (level `short-reads`). */
export class HeedlessWindow implements Window {
  readonly #window: Window

  constructor(window: Window) {
    this.#window = window
  }

  bytes(_demandPending: number, nowNs: number): number {
    return this.#window.bytes(0, nowNs)
  }

  readPages(pagesMax: number, nowNs: number): number {
    return this.#window.readPages(pagesMax, nowNs)
  }

  onDemand(): void {}

  onDemandAnswered(): void {}

  takeRest(): boolean {
    return false
  }

  onCompletion(bytes: number, rttNs: number, nowNs: number): void {
    this.#window.onCompletion(bytes, rttNs, nowNs)
  }
}
