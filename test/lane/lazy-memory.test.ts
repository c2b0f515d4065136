import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { LazyFaults, LazyPlacer } from '../../src/fault/lazy-faults.ts'
import { allocateLazyMemory } from '../../src/fault/lazy-layout.ts'
import { LazyMemory } from '../../src/fault/lazy-memory.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane } from '../../src/lane/demand-lane.ts'
import { PrefaultLane } from '../../src/lane/prefault-lane.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../../src/lane/stats.ts'
import { PageTable, PAGE as STATE } from '../../src/memory/page-table.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { SCHEDULINGS } from '../../src/prefault/schedulings.ts'
import { SequentialPolicy } from '../../src/prefault/sequential.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingConsumer, RingProducer } from '../../src/ring/spsc-ring.ts'
import { transport } from '../../src/transport/tcp/index.ts'

const PAGE = 4096
const PAGES = 512
const BYTES = PAGES * PAGE
const pattern = new Uint8Array(BYTES)
for (let page = 0; page < PAGES; page++) fillSyntheticPage(new Uint32Array(pattern.buffer), page * 1024, page)

/** Both lanes, stepped by the test's own thread while its asynchronous reads wait. */
class Lanes {
  readonly description = allocateLazyMemory(BYTES)
  readonly memory = new LazyMemory(this.description, { agent: { wake: () => {} }, timeoutMs: 20_000 })
  readonly table = PageTable.allocate(PAGES)
  readonly counters = new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length))
  readonly prefaultCounters = new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length))
  readonly #board = new Board(allocateBoard())
  readonly #channels
  readonly #demand
  readonly #prefault

  constructor(url: string, withPrefault: boolean) {
    this.#channels = [transport.open(url, 'demand'), transport.open(url, 'prefault')] as const
    this.table.reset(0, PAGES, STATE.MISSING)
    this.#board.setRemaining(PAGES)
    this.#demand = new DemandLane(this.#channels[0], {
      table: this.table,
      board: this.#board,
      hints: new RingProducer(this.#board.memory.hints),
      counters: this.counters,
      stalls: new LatencyHistogram(LatencyHistogram.allocate()),
      promotedWaits: new LatencyHistogram(LatencyHistogram.allocate()),
      clock: monotonicClock,
      onQuiet: () => {},
    })
    this.#demand.begin(new LazyFaults(this.description), new LazyPlacer(this.description))
    if (!withPrefault) return
    this.#prefault = new PrefaultLane(this.#channels[1], {
      table: this.table,
      board: this.#board,
      hints: new RingConsumer(this.#board.memory.hints),
      policy: new SequentialPolicy(),
      window: SCHEDULINGS.S2.window(PAGE),
      counters: this.prefaultCounters,
      clock: monotonicClock,
      readPagesMax: 16,
      onPromotedDone: () => {},
    })
    this.#prefault.begin(new LazyPlacer(this.description))
  }

  get remaining(): number {
    return this.#board.remaining()
  }

  step(): void {
    this.#demand.doWork(true, true)
    this.#prefault?.doWork()
  }

  /** The demand channel is broken. */
  cut(): void {
    this.#channels[0].close()
    this.#demand.reclaimReads()
  }

  async stepUntil<T>(promise: Promise<T>): Promise<T> {
    let isOpen = true
    const close = () => {
      isOpen = false
    }
    promise.then(close, close)
    for (; isOpen; await new Promise(setImmediate)) this.step()
    return await promise
  }

  close(): void {
    for (const channel of this.#channels) channel.close()
  }
}

describe('LazyMemory behind the lanes, over TCP', () => {
  let source: ChildProcess
  let url: string
  beforeEach(async () => {
    const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
    const args = ['serve', '--synthetic', `${BYTES / 1024}KiB`, '--listen', 'tcp://127.0.0.1:0']
    source = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'inherit', 'pipe'] })
    const [line] = await once(source.stderr!, 'data')
    url = /ready (\S+)/.exec(String(line))?.[1] ?? ''
  })
  afterEach(async () => {
    source.kill('SIGKILL')
    if (source.exitCode === null && source.signalCode === null) await once(source, 'exit')
  })

  const reads = fc.array(
    fc.record({ offset: fc.nat(BYTES - 1), length: fc.integer({ min: 1, max: 20 * PAGE }) }),
    {
      minLength: 1,
      maxLength: 10,
    },
  )

  it.each([false, true])('brings every byte once, and no wrong one; prefault: %s', async (withPrefault) => {
    await fc.assert(
      fc.asyncProperty(reads, async (wanted) => {
        const lanes = new Lanes(url, withPrefault)
        try {
          const all = wanted.map(async ({ offset, length }) => {
            const cut = Math.min(length, BYTES - offset)
            const bytes = await lanes.memory.read(offset, cut)
            expect(Buffer.compare(bytes, pattern.subarray(offset, offset + cut))).toBe(0)
          })
          await lanes.stepUntil(Promise.all(all))
          while (withPrefault && lanes.remaining > 0) lanes.step()
          const demand = lanes.counters.snapshot()
          const prefault = lanes.prefaultCounters.snapshot()
          const present = lanes.table.count(STATE.PRESENT)
          expect(demand.demanded + prefault.prefaulted).toBe(present)
          expect(demand.bytesReceived + prefault.bytesReceived).toBe(present * PAGE)
          if (withPrefault) {
            expect(present).toBe(PAGES)
            expect(Buffer.compare(lanes.memory.readSync(0, BYTES), pattern)).toBe(0)
          }
        } finally {
          lanes.close()
        }
      }),
      { numRuns: 15 },
    )
  })

  it('leaves readers waiting when the source is killed, and gives them no byte', async () => {
    const lanes = new Lanes(url, false)
    await lanes.stepUntil(lanes.memory.read(0, PAGE))
    source.kill('SIGKILL')
    await once(source, 'exit')
    const read = lanes.memory.read(0, 2 * PAGE).catch((error) => error.code)
    await expect(lanes.stepUntil(new Promise(() => {}))).rejects.toThrow(/closed/)
    lanes.cut()
    const later = lanes.memory.read(9 * PAGE, PAGE).catch((error) => error.code)
    for (let turn = 0; turn < 100; turn++) lanes.step() // Takes the fault, posts nothing, throws nothing.
    expect(lanes.table.state(9)).toBe(STATE.DEMANDED)
    expect([PAGE, 9 * PAGE].map((offset) => lanes.memory.isHere(offset, PAGE))).toEqual([false, false])
    lanes.memory.close()
    expect(await Promise.all([read, later])).toEqual(['PAGE_LOST', 'PAGE_LOST'])
    lanes.close()
  })
})
