/**
 * `npm run bench:ring`: how many 16-byte records a second two threads exchange over our ring, over ringbuf.js and over a
 * MessagePort, and how long one record takes from thread to thread.
 *
 * Every way moves the same count (a port a twentieth of it: it is that much slower) and all take turns, so that a
 * disturbance of the machine hits all of them; the ratios are medians of the rounds' ratios.
 *     --smoke       a short run that proves only that everything works
 *     --json FILE   the figures as JSON as well (`-`: standard output)
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { MessageChannel, Worker } from 'node:worker_threads'
import { RingBuffer } from 'ringbuf.js'
import { Bench } from 'tinybench'
import { allocateSpscRing } from '../src/ring/spsc-ring.ts'
import { type Job, RECORD_WORDS, type Setup, type Way } from './ring-setup.ts'

const CAPACITY = 4096

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, smoke: { type: 'boolean', default: false } },
})
const rounds = options.smoke ? 1 : 9
const count = options.smoke ? 20_000 : 4_000_000
const hops = options.smoke ? 2_000 : 200_000

const ways: { way: Way; title: string; count: number }[] = [
  { way: 'ring batch', title: 'our ring, batches of up to 64', count },
  { way: 'ringbuf record', title: 'ringbuf.js, push and pop of a record', count },
  { way: 'ring single', title: 'our ring, record by record', count },
  { way: 'ringbuf block', title: 'ringbuf.js, push and pop of 64 records', count },
  { way: 'port', title: 'MessagePort, a message a record', count: count / 20 },
]

const roundTripsNs = new Float64Array(new SharedArrayBuffer(8 * hops))
const { port1, port2 } = new MessageChannel()
const common = {
  ring: allocateSpscRing(CAPACITY, RECORD_WORDS),
  ringBack: allocateSpscRing(CAPACITY, RECORD_WORDS),
  ringbuf: RingBuffer.getStorageForCapacity(CAPACITY * RECORD_WORDS, Int32Array),
  roundTripsNs,
}

function start(setup: Setup): Worker {
  return new Worker(new URL('./ring-worker.js', import.meta.url), {
    workerData: setup,
    transferList: [setup.port],
  })
}

const sender = start({ ...common, isSender: true, port: port1 })
const receiver = start({ ...common, isSender: false, port: port2 })

function answerOf(worker: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.once('message', (total: number) => {
      worker.off('error', reject)
      resolve(total)
    })
    worker.once('error', reject)
  })
}

/** What the receiver adds up if every record arrives whole. */
function totalOf(moved: number): number {
  let total = 0
  for (let i = 0; i < moved; i++) total = (total + i + (i ^ 0x55) + (i + 7) + 1) | 0
  return total
}

async function move(job: Job): Promise<void> {
  const answers = Promise.all([answerOf(sender), answerOf(receiver)])
  receiver.postMessage(job)
  sender.postMessage(job)
  const [, total] = await answers
  if (job.way !== 'hop' && total !== totals.get(job.count))
    throw new Error(`${job.way}: records were lost or torn`)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}

function percentile(sorted: Float64Array, percent: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length))]!)
}

const totals = new Map(ways.map((way) => [way.count, totalOf(way.count)]))
const rates = new Map<Way, number[]>(ways.map(({ way }) => [way, []]))

// The first round compiles the workers' loops and is not counted.
for (let round = -1; round < rounds; round++) {
  const bench = new Bench({ time: 0, iterations: 1, warmup: false, throws: true })
  for (const { way, count } of ways) bench.add(way, async () => await move({ way, count }))
  await bench.run()
  if (round < 0 && !options.smoke) continue
  for (const { way, count } of ways) {
    const result = bench.getTask(way)!.result
    if (result.state !== 'completed') throw new Error(`${way}: ${result.state}`)
    rates.get(way)!.push(count / (result.latency.mean / 1000))
  }
}
await move({ way: 'hop', count: hops })
await move({ way: 'hop', count: hops })
await Promise.all([sender.terminate(), receiver.terminate()])

/** Median over the rounds of ours ÷ theirs in the same round. */
function ratio(ours: Way, theirs: Way): number {
  return median(rates.get(ours)!.map((rate, round) => rate / rates.get(theirs)![round]!))
}

const hopsNs = roundTripsNs.map((ns) => ns / 2).sort()
const report = {
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  record_bytes: 4 * RECORD_WORDS,
  capacity: CAPACITY,
  rounds,
  records_per_s: Object.fromEntries(ways.map(({ way }) => [way, Math.round(median(rates.get(way)!))])),
  ratios: {
    'ring batch / ringbuf record': ratio('ring batch', 'ringbuf record'),
    'ring batch / ringbuf block': ratio('ring batch', 'ringbuf block'),
    'ring single / ringbuf record': ratio('ring single', 'ringbuf record'),
    'ring batch / port': ratio('ring batch', 'port'),
    'ring single / port': ratio('ring single', 'port'),
  },
  hop_ns: {
    p50: percentile(hopsNs, 50),
    p99: percentile(hopsNs, 99),
    p999: percentile(hopsNs, 99.9),
  },
}

const lines = [
  `16-byte records between two workers, ${report.cpu}, Node ${report.node}, median of ${rounds} rounds`,
  ...ways.map(({ way, title }) => {
    const perSecond = report.records_per_s[way]! / 1e6
    return `  ${title.padEnd(42)}${perSecond.toFixed(2).padStart(9)} million records/s`
  }),
  ...Object.entries(report.ratios).map(
    ([name, value]) => `  ${name.padEnd(42)}${value.toFixed(2).padStart(9)} ×`,
  ),
  `  a hop of one record, both spinning: p50 ${report.hop_ns.p50} ns, p99 ${report.hop_ns.p99} ns, p99.9 ${report.hop_ns.p999} ns`,
]
const json = `${JSON.stringify(report, null, 2)}\n`
if (options.json === '-') process.stdout.write(json)
else {
  console.log(lines.join('\n'))
  if (options.json !== undefined) writeFileSync(options.json, json)
}
