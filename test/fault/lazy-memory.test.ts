import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../src/errors.ts'
import { LazyFaults, LazyPlacer } from '../../src/fault/lazy-faults.ts'
import { allocateLazyMemory, type LazyDescription } from '../../src/fault/lazy-layout.ts'
import { FAULTS_AHEAD_MAX, LazyMemory } from '../../src/fault/lazy-memory.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { Doorbell } from '../../src/ring/doorbell.ts'

const PAGE = 4096
const PAGES = 600
const BYTES = PAGES * PAGE
const here = (file: string) => new URL(file, import.meta.url)

const pattern = new Uint8Array(BYTES)
for (let page = 0; page < PAGES; page++) fillSyntheticPage(new Uint32Array(pattern.buffer), page * 1024, page)

/** Counts how often readers woke the agent. */
class Bell {
  wakes = 0
  wake(): void {
    this.wakes++
  }
}

/** Everything of one memory in this thread: the test itself is the demand agent. */
class Here {
  readonly bell = new Bell()
  readonly description = allocateLazyMemory(BYTES)
  readonly faults = new LazyFaults(this.description)
  readonly placer = new LazyPlacer(this.description)
  nowMs = 0
  readonly memory = new LazyMemory(this.description, {
    agent: this.bell,
    timeoutMs: 5000,
    clock: { nowNs: () => this.nowMs * 1e6 },
  })

  /** The pages of the faults that are there now. */
  poll(): number[] {
    const pages: number[] = []
    this.faults.pollFaults({ onFault: (page) => pages.push(page), onRemove: () => {} })
    return pages
  }

  place(page: number): void {
    expect(this.placer.placeBytes(page, pattern.subarray(page * PAGE, (page + 1) * PAGE))).toBe(1)
  }
}

/** Byte by byte, and quickly: the matchers take seconds for a megabyte. */
function expectPattern(bytes: Uint8Array | undefined, offset: number, length: number): void {
  expect(bytes).toHaveLength(length)
  expect(Buffer.compare(bytes!, pattern.subarray(offset, offset + length))).toBe(0)
}

function failureOf(error: unknown): FaultlaneError['failure'] {
  expect(error).toBeInstanceOf(FaultlaneError)
  return (error as FaultlaneError).failure
}

describe('LazyMemory, read asynchronously', () => {
  it('lets the thread go on until the page is there', async () => {
    const t = new Here()
    let bytes: Uint8Array | undefined
    const read = t.memory.read(5 * PAGE + 100, 200).then((result) => {
      bytes = result
    })
    await new Promise(setImmediate)
    expect(bytes).toBeUndefined()
    expect(t.bell.wakes).toBe(1)
    expect(t.poll()).toEqual([5])
    t.place(5)
    await read
    expectPattern(bytes, 5 * PAGE + 100, 200)
    expect(t.memory.isHere(5 * PAGE, PAGE)).toBe(true)
    expect(t.memory.isHere(5 * PAGE, PAGE + 1)).toBe(false)
  })

  it('asks ahead, in order, for no page that is there, and never further than its bound', async () => {
    const t = new Here()
    t.place(2)
    const read = t.memory.read(0, BYTES)
    const expected = Array.from({ length: FAULTS_AHEAD_MAX }, (_, i) => i).filter((page) => page !== 2)
    expect(t.poll()).toEqual(expected)
    expect(t.poll()).toEqual([])
    for (const page of expected) t.place(page)
    for (let pages = t.poll(); !t.memory.isHere(0, BYTES); pages = t.poll()) {
      expect(pages.length).toBeLessThanOrEqual(FAULTS_AHEAD_MAX)
      for (const page of pages) t.place(page)
      await new Promise(setImmediate)
    }
    expectPattern(await read, 0, BYTES)
    expect(t.placer.existed).toBe(0)
  })

  it('serves any reads, whatever the order of arrival, with nothing but the content', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ offset: fc.nat(BYTES), length: fc.nat(8 * PAGE) }), { maxLength: 8 }),
        fc.infiniteStream(fc.nat()),
        async (wanted, choices) => {
          const t = new Here()
          const reads = wanted.map(({ offset, length }) => {
            const cut = Math.min(length, BYTES - offset)
            return t.memory.read(offset, cut).then((bytes) => {
              expectPattern(bytes, offset, cut)
              return true
            })
          })
          let open = true
          const all = Promise.all(reads).finally(() => {
            open = false
          })
          const waiting: number[] = []
          while (open) {
            waiting.push(...t.poll())
            const [page] = waiting.splice((choices.next().value as number) % (waiting.length || 1), 1)
            if (page !== undefined) t.place(page)
            else await new Promise(setImmediate)
          }
          expect(await all).toEqual(wanted.map(() => true))
        },
      ),
      { numRuns: 30 },
    )
  })

  it('waits for room when the ring is full, and loses no fault', async () => {
    const t = new Here()
    const reads = Array.from({ length: 40 }, (_, i) =>
      t.memory.read((i % 9) * FAULTS_AHEAD_MAX * PAGE, FAULTS_AHEAD_MAX * PAGE),
    )
    expect(t.memory.refusals).toBeGreaterThan(0)
    let open = true
    const all = Promise.all(reads).finally(() => {
      open = false
    })
    while (open) {
      for (const page of t.poll()) t.place(page)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    for (const [i, bytes] of (await all).entries()) {
      const offset = (i % 9) * FAULTS_AHEAD_MAX * PAGE
      expectPattern(bytes, offset, FAULTS_AHEAD_MAX * PAGE)
    }
  })

  it('fails with PAGE_LOST and no bytes, for all who wait; the next read asks again', async () => {
    const t = new Here()
    const reads = [t.memory.read(0, 3 * PAGE), t.memory.read(PAGE, 1)].map((read) => read.catch(failureOf))
    expect(t.poll()).toEqual([0, 1, 2, 1])
    t.place(0)
    t.placer.lose(1, 1)
    t.place(2)
    const lost = { code: 'PAGE_LOST', page: 1, reason: 'its source cannot give it' }
    expect(await Promise.all(reads)).toEqual([lost, lost])
    expect(t.poll()).toEqual([])

    const again = t.memory.read(0, 3 * PAGE)
    expect(t.poll()).toEqual([1])
    t.place(1)
    expectPattern(await again, 0, 3 * PAGE)
  })

  it('does not lose a page that is there', async () => {
    const t = new Here()
    t.place(7)
    t.placer.lose(7, 1)
    expectPattern(await t.memory.read(7 * PAGE, PAGE), 7 * PAGE, PAGE)
  })

  it('asks again when nobody answered: an agent may have been replaced', async () => {
    const t = new Here()
    const read = t.memory.read(0, PAGE)
    expect(t.poll()).toEqual([0]) // And forgotten.
    t.nowMs = 150
    let pages: number[] = []
    for (; pages.length === 0; pages = t.poll()) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(pages).toEqual([0])
    t.place(0)
    await read
  })

  it('gives up after its time', async () => {
    const t = new Here()
    const read = t.memory.read(0, PAGE).catch(failureOf)
    t.nowMs = 5000
    t.placer.wake(0)
    expect(await read).toEqual({ code: 'DEMAND_TIMEOUT', page: 0, waitedMs: 5000 })
  })

  it('ends for readers and agent when it is closed; what is there stays readable', async () => {
    const t = new Here()
    t.place(0)
    const read = t.memory.read(0, 2 * PAGE).catch(failureOf)
    expect(t.poll()).toEqual([1])
    t.memory.close()
    expect(await read).toEqual({ code: 'PAGE_LOST', page: 1, reason: 'the memory has been closed' })
    expect(t.faults.pollFaults({ onFault: () => {}, onRemove: () => {} })).toBe(-1)
    expectPattern(t.memory.readSync(0, PAGE), 0, PAGE)
    expect(() => t.memory.readSync(PAGE, 1)).toThrow('has been closed')
  })
})

describe('LazyMemory', () => {
  it('reads zeros only where they were declared', async () => {
    const t = new Here()
    const read = t.memory.read(0, 70 * PAGE)
    t.placer.placeZero(0, 70)
    expect((await read).every((byte) => byte === 0)).toBe(true)
  })

  it('leaves a page alone that came twice: a reader may have written to it', () => {
    const t = new Here()
    t.place(3)
    t.memory.content[3 * PAGE] = 0x55
    t.place(3)
    t.placer.placeZero(3, 1)
    expect(t.memory.readSync(3 * PAGE, 1)[0]).toBe(0x55)
    expect(t.placer.existed).toBe(2)
  })

  it.each([
    [-1, 1],
    [0, BYTES + 1],
    [BYTES, 1],
    [0.5, 1],
    [0, Number.NaN],
    [2 ** 53, 1],
  ])('refuses offset %d, length %d', async (offset, length) => {
    const { memory } = new Here()
    expect(() => memory.readSync(offset, length)).toThrow(`a range within ${BYTES} bytes`)
    await expect(memory.read(offset, length)).rejects.toThrow('a range within')
  })

  it('takes empty reads anywhere, and asks for nothing', () => {
    const t = new Here()
    expect(t.memory.readSync(0, 0)).toHaveLength(0)
    expect(t.memory.readSync(BYTES, 0)).toHaveLength(0)
    expect(t.poll()).toEqual([])
  })

  it('refuses a size that is no number of pages', () => {
    for (const bytes of [0, 1, -PAGE, PAGE + 1]) expect(() => allocateLazyMemory(bytes)).toThrow('multiple')
  })
})

describe('LazyMemory between threads', () => {
  const workers: Worker[] = []
  const bells: Int32Array[] = []
  afterEach(async () => {
    for (const bell of bells.splice(0)) new Doorbell(bell, 0).stop()
    await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
  })

  function startAgent(description: LazyDescription, lost: number[] = []): Int32Array {
    const bell = Doorbell.allocate()
    bells.push(bell)
    const worker = new Worker(here('./lazy-agent.mjs'), { workerData: { description, bell, lost } })
    workers.push(worker)
    return bell
  }
  /** A reading thread; what it said, when it has ended. */
  async function readElsewhere(
    description: LazyDescription,
    bell: Int32Array,
    reads: number[][],
  ): Promise<unknown[]> {
    const worker = new Worker(here('./lazy-reader.mjs'), { workerData: { description, bell, reads } })
    workers.push(worker)
    const said: unknown[] = []
    worker.on('message', (message) => said.push(message))
    await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
    return said
  }

  it('stands still on this thread, and reads on others at the same time', async () => {
    const description = allocateLazyMemory(BYTES)
    const bell = startAgent(description)
    const whole = Array.from({ length: 60 }, (_, i) => [i * 10 * PAGE, 10 * PAGE])
    const backwards = Array.from({ length: 200 }, (_, i) => [(PAGES - 1 - 3 * i) * PAGE + 7, 99])
    const others = [whole, backwards].map((reads) => readElsewhere(description, bell, reads))
    const memory = new LazyMemory(description, { agent: new Doorbell(bell, 0) })
    for (let page = PAGES - 1; page >= 0; page -= 7) {
      expectPattern(memory.readSync(page * PAGE, PAGE), page * PAGE, PAGE)
    }
    for (const [i, said] of (await Promise.all(others)).entries()) {
      const reads = i === 0 ? whole : backwards
      expect(said).toHaveLength(reads.length)
      for (const [k, [offset, length]] of reads.entries()) {
        const { offset: at, bytes } = said[k] as { offset: number; bytes: Uint8Array }
        expect(at).toBe(offset)
        expectPattern(bytes, offset!, length!)
      }
    }
  })

  it('mixes both ways of reading on one thread', async () => {
    const description = allocateLazyMemory(BYTES)
    const memory = new LazyMemory(description, { agent: new Doorbell(startAgent(description), 0) })
    const later = memory.read(0, 100 * PAGE)
    expectPattern(memory.readSync(50 * PAGE, PAGE), 50 * PAGE, PAGE)
    expectPattern(await later, 0, 100 * PAGE)
  })

  it('brings a loss and a close to a thread that stands still', async () => {
    const description = allocateLazyMemory(BYTES)
    const bell = startAgent(description, [9])
    const memory = new LazyMemory(description, { agent: new Doorbell(bell, 0) })
    expect(() => memory.readSync(8 * PAGE, 2 * PAGE)).toThrow(
      'page 9 cannot be had: its source cannot give it',
    )

    const silent = Doorbell.allocate() // An agent that never looks.
    const reading = readElsewhere(description, silent, [[20 * PAGE, 1]])
    const faults = new LazyFaults(description)
    new Doorbell(bell, 0).stop()
    while (faults.pollFaults({ onFault: () => {}, onRemove: () => {} }) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    memory.close()
    expect(await reading).toEqual([
      { failure: { code: 'PAGE_LOST', page: 20, reason: 'the memory has been closed' } },
    ])
  })
})
