/**
 * A client in the bench's own process: memory behind a fault handler, and threads that touch it. Owned by the
 * bench's main thread, which itself never touches the memory.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { FaultClient, reserveMemory } from '../fault/client.ts'
import { PHASE, TOUCHER_WORDS, type ToucherPlan, type ToucherResult, tellAddress } from '../fault/toucher.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { LatencySnapshot } from '../ring/latency-snapshot.ts'
import { allocateRehearsals, setCompiling } from '../workers/eager-compiler.ts'
import type { ToucherStart } from '../workers/plans.ts'
import { type RunningWorker, spawnWorker } from '../workers/spawn.ts'
import { ProcessTime } from './proc-file.ts'

const PAGE_BYTES = 4096
/** Processor time comes in steps of 10 ms. */
const LOOK_MS = 100
const IDLE_SHARE = 0.1
const IDLE_WITHIN_MS = 10_000

export interface Demand {
  readonly name: string
  readonly about: string
  readonly mode: 'open' | 'closed' | 'walk'
  readonly threads: number
  /** Open loop: mean gap between two faults of the whole client. */
  readonly meanGapNs: number
}

/**
 * Light: four threads share a Poisson stream of one fault per millisecond, so that a thread still standing on the
 * last page keeps the next from being touched in 2.5 % of the cases only (and is charged with it).
 */
export const DEMANDS = {
  none: { name: 'none', about: 'nobody touches anything', mode: 'closed', threads: 0, meanGapNs: 0 },
  light: {
    name: 'light',
    about: 'open loop, Poisson, 1 fault per ms over 4 threads',
    mode: 'open',
    threads: 4,
    meanGapNs: 1e6,
  },
  heavy1: { name: 'heavy1', about: 'closed loop, 1 thread', mode: 'closed', threads: 1, meanGapNs: 0 },
  heavy16: { name: 'heavy16', about: 'closed loop, 16 threads', mode: 'closed', threads: 16, meanGapNs: 0 },
  heavy32: { name: 'heavy32', about: 'closed loop, 32 threads', mode: 'closed', threads: 32, meanGapNs: 0 },
  walk: {
    name: 'walk',
    about: 'closed loop, 1 thread, pages in a given order, else all in address order',
    mode: 'walk',
    threads: 1,
    meanGapNs: 0,
  },
} as const satisfies Record<string, Demand>
export type DemandName = keyof typeof DEMANDS

export interface Touched {
  readonly latency: LatencySnapshot
  readonly lateness: LatencySnapshot
  readonly faults: number
  readonly hits: number
  readonly stallNs: number
  readonly elapsedNs: number
}

export class FaultingClient {
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * TOUCHER_WORDS.COUNT))
  readonly #bytes: number
  readonly #address: number
  readonly #workers: RunningWorker[] = []
  readonly #plans: ToucherPlan[] = []
  readonly #results: ToucherResult[] = []
  #client: FaultClient | undefined
  #failed: Error | undefined
  #ready: Promise<void> | undefined

  /**
   * Starts the threads; they touch nothing before handOver() and setPhase().
   * @param pages of a walk; default: all, in address order
   */
  constructor(bytes: number, demand: Demand, seed: number, pages = pagesOfWalk(demand, bytes)) {
    this.#bytes = bytes
    this.#address = reserveMemory(bytes)
    tellAddress(this.#control, this.#address)
    const rehearsals = allocateRehearsals()
    setCompiling(true)
    for (let thread = 0; thread < demand.threads; thread++) {
      const plan: ToucherPlan = {
        bytes,
        pageSize: PAGE_BYTES,
        mode: demand.mode,
        meanGapNs: demand.meanGapNs * demand.threads,
        pages,
        seed: Math.imul(seed * 64 + thread + 1, 0x9e3779b1),
        control: this.#control,
        latency: LatencyHistogram.allocate(),
        lateness: LatencyHistogram.allocate(),
      }
      this.#plans.push(plan)
      const start: ToucherStart = { plan, rehearsals }
      const worker = spawnWorker('toucher', start, (message) => {
        if (message.kind === 'toucher-done') this.#results.push(message.result)
        if (message.kind === 'failed')
          this.#failed = new Error(`a touching thread failed: ${JSON.stringify(message.failure)}`)
      })
      this.#workers.push(worker)
    }
  }

  /** Resolves when the threads are up, and what they do is compiled, to the last of what was still to be; from then on nothing is. */
  ready(): Promise<void> {
    this.#ready ??= this.#getReady()
    return this.#ready
  }

  async #getReady(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.ready))
    setCompiling(false)
    await untilIdle()
  }

  /** Hands the memory to the handler, once the threads are up: its prefault begins now. */
  async handOver(socketPath: string): Promise<void> {
    await this.ready()
    const client = new FaultClient({ socketPath, bytes: this.#bytes, address: this.#address })
    this.#client = client
  }

  setPhase(phase: number): void {
    Atomics.store(this.#control, TOUCHER_WORDS.PHASE, phase)
    Atomics.notify(this.#control, TOUCHER_WORDS.PHASE)
  }

  /** Resolves when every thread has ended its work; the handler must still be alive. */
  async touched(): Promise<Touched> {
    await Promise.all(this.#workers.map((worker) => worker.ended))
    if (this.#failed) throw this.#failed
    const merge = (memory: Int32Array[]) =>
      memory.reduce(
        (sum, words) => sum.merge(new LatencyHistogram(words).snapshot()),
        LatencySnapshot.empty(),
      )
    const sum = (of: (result: ToucherResult) => number) =>
      this.#results.reduce((total, result) => total + of(result), 0)
    return {
      latency: merge(this.#plans.map((plan) => plan.latency)),
      lateness: merge(this.#plans.map((plan) => plan.lateness)),
      faults: sum((result) => result.faults),
      hits: sum((result) => result.hits),
      stallNs: sum((result) => result.stallNs),
      elapsedNs: this.#results.reduce((most, result) => Math.max(most, result.elapsedNs), 0),
    }
  }

  /** Every thread has ended. */
  close(): void {
    this.#client?.close()
  }

  /** The handler is dead, or there was none: frees the threads that stand in a page. */
  abandon(): void {
    this.setPhase(PHASE.STOP)
    this.#client?.letGo()
  }
}

/** The engine's helpers still compile what was asked for before: on a slow machine 32 threads' for seconds, on two processors that others need. */
async function untilIdle(): Promise<void> {
  const time = new ProcessTime('self')
  try {
    for (let waitedMs = 0; waitedMs < IDLE_WITHIN_MS; waitedMs += LOOK_MS) {
      const beforeNs = time.ns()
      await delay(LOOK_MS)
      if (time.ns() - beforeNs <= IDLE_SHARE * LOOK_MS * 1e6) return
    }
  } finally {
    time.close()
  }
}

function pagesOfWalk(demand: Demand, bytes: number): Uint32Array {
  const count = demand.mode === 'walk' ? bytes / PAGE_BYTES : 0
  return Uint32Array.from({ length: count }, (_, page) => page)
}
