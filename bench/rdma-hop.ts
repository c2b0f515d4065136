/**
 * `npm run bench:rdma-hop`: what the rings of an emulated NIC cost by themselves. A work request is posted in this
 * thread, taken and completed in another, and its completion polled here; both spin, no model is between them.
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
  readonly count: number
  readonly qpNumber: number
}

const { values: options } = parseArgs({ options: { smoke: { type: 'boolean' }, json: { type: 'string' } } })
const SAMPLES = options.smoke ? 1000 : 200_000
/** Requests that compile both loops before those that count. */
const WARM_UP = options.smoke ? 1000 : 50_000
const QP_NUMBER = 64
const STUCK_MS = 10_000

const queue = new PostingQueue(16, SEND_WORDS)
const completions = new CompletionQueue(allocateCompletionRing(16))
completions.attach(QP_NUMBER, queue, null)
const count = WARM_UP + SAMPLES
const setup: HopSetup = { sendRing: queue.ring, doneRing: completions.ring, count, qpNumber: QP_NUMBER }
const worker = new Worker(new URL('./rdma-hop-worker.js', import.meta.url), { workerData: setup })
const ended = new Promise<void>((resolve, reject) => {
  worker.once('error', reject)
  worker.once('exit', () => resolve())
})
await new Promise((resolve) => worker.once('online', resolve))

const request = new SendRequest()
request.opcode = 4 // RDMA_READ
request.length = 4096
const completion = new WorkCompletion()
const timesNs = new Float64Array(SAMPLES)
const stuckAtMs = performance.now() + STUCK_MS
for (let i = 0; i < count; i++) {
  request.id = i
  const startMs = performance.now()
  request.write(queue.words, queue.tryClaim())
  queue.commit()
  for (let turns = 1; completions.poll(completion) === 0; turns++) {
    if (turns % 2 ** 20 === 0 && performance.now() > stuckAtMs)
      throw new Error(`request ${i} was not completed`)
  }
  const endMs = performance.now()
  if (completion.id !== i) throw new Error(`completion ${completion.id} came for request ${i}`)
  if (i >= WARM_UP) timesNs[i - WARM_UP] = (endMs - startMs) * 1e6
}
await ended

timesNs.sort()
const percentile = (percent: number): number =>
  Math.round(timesNs[Math.min(SAMPLES - 1, Math.floor((percent / 100) * SAMPLES))]!)
const report = {
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  samples: SAMPLES,
  post_to_completion_ns: { p50: percentile(50), p99: percentile(99), p999: percentile(99.9) },
}
const json = `${JSON.stringify(report, null, 2)}\n`
if (options.json === '-') process.stdout.write(json)
else {
  const { p50, p99, p999 } = report.post_to_completion_ns
  console.log(
    `work request post to completion seen, two threads spinning, ${report.cpu}, Node ${report.node}`,
  )
  console.log(`  p50 ${p50} ns, p99 ${p99} ns, p99.9 ${p999} ns of ${SAMPLES}`)
  if (options.json !== undefined) writeFileSync(options.json, json)
}
