/** What both lanes have counted since the last client was gone. Owned by the demand agent. */
import type { Counters } from '../ring/counters.ts'
import type { LatencyHistogram } from '../ring/histogram.ts'
import { type SessionReport, waitFigures } from './session-report.ts'
import type { DemandCounter, PrefaultCounter } from './stats.ts'

export interface SessionTallyParts {
  readonly counters: Counters<DemandCounter>
  readonly prefaultCounters: Counters<PrefaultCounter>
  readonly stalls: LatencyHistogram
  readonly promotedWaits: LatencyHistogram
}

export class SessionTally {
  readonly #parts: SessionTallyParts
  #before

  constructor(parts: SessionTallyParts) {
    this.#parts = parts
    this.#before = this.#now()
  }

  /** The next client counts from here. */
  restart(): void {
    this.#before = this.#now()
  }

  read(): Pick<SessionReport, 'demand' | 'prefault' | 'stallNs' | 'promotedNs'> {
    const [now, before] = [this.#now(), this.#before]
    return {
      demand: difference(now.demand, before.demand),
      prefault: difference(now.prefault, before.prefault),
      stallNs: waitFigures(now.stalls.since(before.stalls)),
      promotedNs: waitFigures(now.promotedWaits.since(before.promotedWaits)),
    }
  }

  #now() {
    const { counters, prefaultCounters, stalls, promotedWaits } = this.#parts
    return {
      demand: counters.snapshot(),
      prefault: prefaultCounters.snapshot(),
      stalls: stalls.snapshot(),
      promotedWaits: promotedWaits.snapshot(),
    }
  }
}

function difference<Name extends string>(
  now: Record<Name, number>,
  before: Record<Name, number>,
): Record<Name, number> {
  const names = Object.keys(now) as Name[]
  return Object.fromEntries(names.map((name) => [name, now[name] - before[name]])) as Record<Name, number>
}
