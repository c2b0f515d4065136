/**
 * `npm run bench:rdma-hop`: what the rings of an emulated NIC cost by themselves. A work request is posted in this
 * thread, taken and completed in another, and its completion polled here; both spin, no model is between them.
 *
 * Beside it, in the same run, what the machine takes for one word there and one back by bare Atomics: in the same two
 * cache lines again and again, and from line to line as a ring goes; what reading the clock costs, one call of which
 * is in each sample; and the hop once more in batches of 100 between two readings of the clock.
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { RingMemory } from '../src/ring/layout.ts'
import { allocateCompletionRing, CompletionQueue } from '../src/transport/rdma-sim/completion-queue.ts'
import { PostingQueue } from '../src/transport/rdma-sim/posting-queue.ts'
import { SEND_WORDS, SendRequest, WorkCompletion } from '../src/transport/rdma-sim/work-request.ts'

export interface HopSetup {
  readonly sendRing: RingMemory
  readonly doneRing: RingMemory
  /** From words `there` and `back` of it on go as many lines as a ring has slots. */
  readonly bare: Int32Array
  readonly there: number
  readonly back: number
  /** Words from one bounce's line to the next one's, in turn. */
  readonly steps: readonly number[]
  readonly bouncesEach: number
  readonly count: number
  readonly qpNumber: number
}

const { values: options } = parseArgs({ options: { smoke: { type: 'boolean' }, json: { type: 'string' } } })
const SAMPLES = options.smoke ? 1000 : 200_000
/** Repetitions that compile both loops before those that count. */
const WARM_UP = options.smoke ? 1000 : 50_000
const BATCH = 100
const QP_NUMBER = 64
const SLOTS = 16
/** Two cache lines: a line of its own wherever the buffer begins. */
const APART = 32
const THERE = APART
const BACK = THERE + SLOTS * APART
/** In words: in place, and from cache line to cache line. */
const STEPS = [0, 16]
const STUCK_MS = 30_000

const queue = new PostingQueue(SLOTS, SEND_WORDS)
const completions = new CompletionQueue(allocateCompletionRing(SLOTS))
completions.attach(QP_NUMBER, queue, null)
const bare = new Int32Array(new SharedArrayBuffer(4 * (BACK + SLOTS * APART)))
const request = new SendRequest()
request.opcode = 4 // RDMA_READ
request.length = 4096
const completion = new WorkCompletion()
const timesNs = new Float64Array(SAMPLES)
let stuckAtMs = Infinity

const setup: HopSetup = {
  sendRing: queue.ring,
  doneRing: completions.ring,
  bare,
  there: THERE,
  back: BACK,
  steps: STEPS,
  bouncesEach: WARM_UP + SAMPLES,
  count: WARM_UP + 2 * SAMPLES,
  qpNumber: QP_NUMBER,
}
const worker = new Worker(new URL('./rdma-hop-worker.js', import.meta.url), { workerData: setup })
const ended = new Promise<void>((resolve, reject) => {
  worker.once('error', reject)
  worker.once('exit', () => resolve())
})
await new Promise((resolve) => worker.once('online', resolve))
stuckAtMs = performance.now() + STUCK_MS

function checkStuck(turns: number, what: string): void {
  if (turns % 2 ** 20 === 0 && performance.now() > stuckAtMs) throw new Error(`${what} was not answered`)
}

function bounce(i: number, step: number): void {
  const at = (i % SLOTS) * step
  Atomics.store(bare, THERE + at, i)
  for (let turns = 1; Atomics.load(bare, BACK + at) !== i; turns++) checkStuck(turns, `word ${i}`)
}

function hop(id: number): void {
  request.id = id
  request.write(queue.words, queue.tryClaim())
  queue.commit()
  for (let turns = 1; completions.poll(completion) === 0; turns++) checkStuck(turns, `request ${id}`)
  if (completion.id !== id) throw new Error(`completion ${completion.id} came for request ${id}`)
}

interface Percentiles {
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

function percentilesOf(samples: Float64Array): Percentiles {
  samples.sort()
  const at = (percent: number): number =>
    Math.round(samples[Math.min(samples.length - 1, Math.floor((percent / 100) * samples.length))]!)
  return { p50: at(50), p99: at(99), p999: at(99.9) }
}

let word = 0
const [inPlaceNs, lineToLineNs] = STEPS.map((step) => {
  for (let i = 0; i < WARM_UP; i++) bounce(++word, step)
  for (let i = 0; i < SAMPLES; i++) {
    const startMs = performance.now()
    bounce(++word, step)
    timesNs[i] = (performance.now() - startMs) * 1e6
  }
  return percentilesOf(timesNs)
}) as [Percentiles, Percentiles]

for (let i = 0; i < WARM_UP; i++) hop(i)
for (let i = 0; i < SAMPLES; i++) {
  const startMs = performance.now()
  hop(WARM_UP + i)
  timesNs[i] = (performance.now() - startMs) * 1e6
}
const hopNs = percentilesOf(timesNs)

const batchesNs = new Float64Array(SAMPLES / BATCH)
for (let batch = 0; batch < batchesNs.length; batch++) {
  const first = WARM_UP + SAMPLES + batch * BATCH
  const startMs = performance.now()
  for (let i = 0; i < BATCH; i++) hop(first + i)
  batchesNs[batch] = ((performance.now() - startMs) * 1e6) / BATCH
}
const batchedNs = percentilesOf(batchesNs)
await ended

const clockStartMs = performance.now()
for (let i = 0; i < SAMPLES; i++) performance.now()
const clockNs = Math.round(((performance.now() - clockStartMs) * 1e6) / SAMPLES)

const report = {
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  samples: SAMPLES,
  post_to_completion_ns: hopNs,
  in_batches_of_100_ns: batchedNs,
  bare_ping_pong_in_place_ns: inPlaceNs,
  bare_ping_pong_line_to_line_ns: lineToLineNs,
  clock_ns: clockNs,
}
const json = `${JSON.stringify(report, null, 2)}\n`
if (options.json === '-') process.stdout.write(json)
else {
  const row = (what: string, ns: Percentiles): string =>
    `  ${what.padEnd(46)} p50 ${ns.p50} ns, p99 ${ns.p99} ns, p99.9 ${ns.p999} ns`
  console.log(`two threads spinning, ${report.cpu}, Node ${report.node}, ${SAMPLES} samples each`)
  console.log(row('work request post to completion seen', hopNs))
  console.log(row('  the same, mean of batches of 100', batchedNs))
  console.log(row('bare Atomics, a word there and back in place', inPlaceNs))
  console.log(row('  from line to line', lineToLineNs))
  console.log(`  one reading of the clock, in each sample   ${clockNs} ns`)
  if (options.json !== undefined) writeFileSync(options.json, json)
}
