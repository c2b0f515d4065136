/** Rings, doorbells, counters and histograms between real workers, which run the built files. */
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { EventFd } from '../../src/native/event-fd.ts'
import { Counters } from '../../src/ring/counters.ts'
import { Doorbell } from '../../src/ring/doorbell.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import type { RingMemory } from '../../src/ring/layout.ts'
import { allocateMpscRing } from '../../src/ring/mpsc-ring.ts'
import { allocateSpscRing } from '../../src/ring/spsc-ring.ts'

let workers: Worker[] = []

beforeAll(() => {
  workers = [0, 1, 2].map(() => new Worker(new URL('./fixtures/ring-worker.mjs', import.meta.url)))
})

afterAll(() => Promise.all(workers.map((worker) => worker.terminate())))

interface Answer {
  readonly wrong?: string
  readonly moved: number
  readonly isEmpty?: boolean
}

function ask(worker: Worker, job: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => () => {
      worker.removeAllListeners('message').removeAllListeners('error')
      act()
    }
    worker.on('message', (answer: Answer) => settle(() => resolve(answer))())
    worker.on('error', (error) => settle(() => reject(error))())
    worker.postMessage(job)
  })
}

interface Exchange {
  readonly kind: 'spsc' | 'mpsc'
  readonly ring: RingMemory
  readonly senders: number
  readonly count: number
  readonly batchMax: number
  readonly seed: number
  /** Of each sender, then of the receiver; without, they sleep in the doorbell's futex. */
  readonly eventFds?: readonly number[]
}

/** Each sender sends `count` records, with batches of all sizes up to `batchMax`; every record is checked on arrival. */
async function exchange({ senders, count, seed, eventFds, ...common }: Exchange): Promise<void> {
  const bells = Array.from({ length: senders + 1 }, (_, i) => ({
    words: Doorbell.allocate(),
    fd: eventFds?.[i],
  }))
  const job = { ...common, bells }
  const answers = await Promise.all([
    ask(workers[0]!, { ...job, role: 'receive', count: senders * count, seed }),
    ...workers
      .slice(1, 1 + senders)
      .map((worker, sender) => ask(worker, { ...job, role: 'send', sender, count, seed: seed + sender + 1 })),
  ])
  expect(answers[0]).toEqual({ wrong: undefined, moved: senders * count, isEmpty: true })
  for (const answer of answers.slice(1)) expect(answer.moved).toBe(count)
}

it.each([
  ['the sign of the position', 2 ** 31 - 500_000],
  ['2^32', -500_000],
])('a million records from worker to worker, over the wrap of the slots and of %s', async (_what, start) => {
  const ring = allocateSpscRing(64, 4, start)
  await exchange({ kind: 'spsc', ring, senders: 1, count: 1_000_000, batchMax: 40, seed: 1 })
})

it.each([
  ['the sign of the position', 2 ** 31 - 500_000],
  ['2^32', -500_000],
])(
  'a million records from two workers to a third, over the wrap of the slots and of %s',
  async (_what, start) => {
    const ring = allocateMpscRing(64, 4, start)
    await exchange({ kind: 'mpsc', ring, senders: 2, count: 500_000, batchMax: 40, seed: 1 })
  },
)

it('rings of any shape deliver everything once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('spsc' as const, 'mpsc' as const),
      fc.constantFrom(1, 2, 8, 256),
      fc.integer({ min: 4, max: 9 }),
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: -2000, max: 0 }),
      fc.constantFrom(0, 2 ** 31),
      fc.integer({ min: 1, max: 2 ** 30 }),
      async (kind, capacity, recordWords, batchMax, beforeWrap, wrap, seed) => {
        const allocate = kind === 'spsc' ? allocateSpscRing : allocateMpscRing
        const ring = allocate(capacity, recordWords, wrap + beforeWrap)
        await exchange({ kind, ring, senders: kind === 'spsc' ? 1 : 2, count: 2000, batchMax, seed })
      },
    ),
    { numRuns: 25 },
  )
})

it.runIf(process.platform === 'linux')(
  'two workers that sleep in poll(2) on eventfds wake each other',
  async () => {
    const eventFds = [new EventFd(), new EventFd()]
    // A small ring: both run into its ends, and sleep, all the time.
    const ring = allocateSpscRing(4, 4)
    const fds = eventFds.map(({ fd }) => fd)
    await exchange({ kind: 'spsc', ring, senders: 1, count: 50_000, batchMax: 4, seed: 1, eventFds: fds })
    for (const eventFd of eventFds) eventFd.close()
  },
)

it('counters and histograms are read while a worker writes them: never back, never what is not there', async () => {
  const [counterWords, histogramWords] = [Counters.allocate(2), LatencyHistogram.allocate()]
  const counters = new Counters(['records', 'bytes'], counterWords)
  const histogram = new LatencyHistogram(histogramWords)
  const count = 300_000
  const bytes = (count * (count + 1) * 2 ** 16) / 2
  let isDone = false
  const recorded = ask(workers[0]!, { role: 'record', counterWords, histogramWords, count }).then(() => {
    isDone = true
  })
  let before = { records: 0, bytes: 0, count: 0, maxNs: 0 }
  while (!isDone) {
    const { count: recordedCount, maxNs } = histogram.snapshot()
    const now = { ...counters.snapshot(), count: recordedCount, maxNs }
    for (const name of ['records', 'bytes', 'count', 'maxNs'] as const)
      expect(now[name]).toBeGreaterThanOrEqual(before[name])
    expect(now.bytes).toBeLessThanOrEqual(bytes)
    expect(now.maxNs).toBeLessThanOrEqual(count)
    before = now
    await new Promise(setImmediate)
  }
  await recorded
  expect(counters.snapshot()).toEqual({ records: count, bytes })
  const { maxNs, ...snapshot } = histogram.snapshot()
  expect([snapshot.count, maxNs]).toEqual([count, count])
  expect(Math.abs(histogram.percentileNs(50) - count / 2)).toBeLessThanOrEqual(count / 200)
})
