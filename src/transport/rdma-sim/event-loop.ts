/**
 * The emulator's time. Whoever owns the loop decides where time comes from:
 *   virtual: step() from event to event, nothing waits;
 *   real:    a spinning poller calls advanceTo() with its clock, divided by the dilation factor.
 * While an event is handled `nowPs` is the event's own time, so a poller that comes late delays what it delivers
 * but never what the model computes.
 */
import type { Clock } from '../../clock.ts'
import { assert } from '../../errors.ts'
import { EventHeap } from './event-heap.ts'

export interface EventSink {
  onEvent(kind: number, a: number, b: number, c: number, d: number): void
}

export class EventLoop implements Clock {
  readonly #heap = new EventHeap()
  readonly #sink: EventSink
  #nowPs = 0

  constructor(sink: EventSink) {
    this.#sink = sink
  }

  get nowPs(): number {
    return this.#nowPs
  }

  nowNs(): number {
    return Math.floor(this.#nowPs / 1000)
  }

  /** When the next event is due; Infinity when nothing is under way. */
  nextPs(): number {
    return this.#heap.nextPs()
  }

  at(timePs: number, kind: number, a: number, b = 0, c = 0, d = 0): void {
    assert(timePs >= this.#nowPs, 'an event cannot be scheduled in the past')
    this.#heap.push(timePs, kind, a, b, c, d)
  }

  /** Goes to the next event and handles it; false when there is none. */
  step(): boolean {
    if (!this.#heap.pop()) return false
    this.#nowPs = this.#heap.timePs
    this.#sink.onEvent(this.#heap.kind, this.#heap.a, this.#heap.b, this.#heap.c, this.#heap.d)
    return true
  }

  /** Handles everything due up to `timePs`, `eventsMax` at the most; returns how many. A clock that stands still is fine. */
  advanceTo(timePs: number, eventsMax = Infinity): number {
    let handled = 0
    while (this.#heap.nextPs() <= timePs) {
      if (handled === eventsMax) return handled
      this.step()
      handled++
    }
    if (timePs > this.#nowPs) this.#nowPs = timePs
    return handled
  }

  /** Handles what is due up to `timePs`, which is still to come: time itself goes no further than the last of it. */
  handleAhead(timePs: number, eventsMax: number): void {
    for (let handled = 0; handled < eventsMax && this.#heap.nextPs() <= timePs; handled++) this.step()
  }
}
