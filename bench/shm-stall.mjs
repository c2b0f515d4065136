/**
 * `npm run bench:shm`: what `shm` costs beside the least that can answer a fault. The same client in C, a thread that
 * touches pages in random order, stands still for
 *
 *     a handler in C whose pages lie in its own memory (baselines/local-handler.c), sleeping in poll(2), or spinning;
 *     `serve` and `attach --wait adaptive` over shm, and over TCP, prefault off.
 *
 * And how fast prefault alone pulls an image over both. All take turns; ratios are medians of the rounds' ratios.
 *     --smoke       a short run that proves only that everything works
 *     --json FILE   the figures as JSON as well (`-`: standard output)
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Child, makeFolder, removeFolder } from '../dist/measure/child.js'
import { DestinationProcess } from '../dist/measure/destination.js'
import { Pagebase } from '../dist/measure/pagebase.js'
import { withSource } from '../dist/measure/transport-bench.js'

const { values: options } = parseArgs({ options: { smoke: { type: 'boolean' }, json: { type: 'string' } } })
const ROUNDS = options.smoke ? 1 : 5
const MIB = options.smoke ? 4 : 64
const PULL_MIB = options.smoke ? 4 : 256
const load = {
  mib: MIB,
  touches: options.smoke ? 200 : 5000,
  order: 'rand',
  threads: 1,
  regions: 1,
  thinkUs: 0,
  seed: 1,
}
const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url))
const faultlane = { command: process.execPath, args: [pathOf('../dist/cli/main.js')] }
const TRANSPORTS = ['shm', 'tcp']

const pagebase = await Pagebase.build()
if (typeof pagebase === 'string') throw new Error(`this bench needs its reference in C: ${pagebase}`)
const folder = makeFolder('faultlane-local')
const local = { command: join(folder, 'local-handler'), args: [] }
execFileSync('cc', ['-O2', '-o', local.command, pathOf('baselines/local-handler.c')])

async function bareStall(wait) {
  const socketPath = join(folder, 'uffd')
  const handler = new Child('the local handler', local, [
    '--socket',
    socketPath,
    '--mib',
    `${MIB}`,
    '--wait',
    wait,
  ])
  try {
    await handler.said(/^handler ready/)
    return (await pagebase.runClient(socketPath, load)).p50_us
  } finally {
    await handler.stop()
  }
}

/** `use` gets the socket of a fresh destination over a fresh source. */
async function withEnds(transport, mib, flags, use) {
  const source = { faultlane, bytes: mib * 2 ** 20, nic: '', dilation: 1 }
  return await withSource(source, transport, async (url) => {
    const destination = await DestinationProcess.start(faultlane, ['--source', url, ...flags])
    try {
      return await use(destination)
    } finally {
      await destination.stop()
    }
  })
}

async function stall(transport) {
  const flags = ['--wait', 'adaptive', '--prefault', 'off']
  return await withEnds(transport, MIB, flags, async ({ socketPath }) => {
    return (await pagebase.runClient(socketPath, load)).p50_us
  })
}

/** MB/s from the handshake to the last page, of a client that touches a page and then nothing. */
async function pullRate(transport) {
  return await withEnds(transport, PULL_MIB, [], async (destination) => {
    const quiet = { ...load, mib: PULL_MIB, touches: 2, thinkUs: options.smoke ? 250_000 : 1_000_000 }
    const ended = pagebase.runClient(destination.socketPath, quiet)
    const { elapsed_ms } = await destination.nextReport()
    await ended
    return (PULL_MIB * 2 ** 20) / 1000 / elapsed_ms
  })
}

const stalls = { 'bare block': [], 'bare spin': [], shm: [], tcp: [] }
const rates = { shm: [], tcp: [] }
try {
  for (let round = 0; round < ROUNDS; round++) {
    for (const wait of ['block', 'spin']) stalls[`bare ${wait}`].push(await bareStall(wait))
    for (const transport of TRANSPORTS) stalls[transport].push(await stall(transport))
    for (const transport of TRANSPORTS) rates[transport].push(await pullRate(transport))
  }
} finally {
  pagebase.remove()
  removeFolder(folder)
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const ratio = (of, by) => Number(median(of.map((value, round) => value / by[round])).toFixed(2))
const medians = (series) =>
  Object.fromEntries(Object.entries(series).map(([name, all]) => [name, median(all)]))
const report = {
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  rounds: ROUNDS,
  stall_p50_us: medians(stalls),
  shm_by_bare_block: ratio(stalls.shm, stalls['bare block']),
  shm_by_bare_spin: ratio(stalls.shm, stalls['bare spin']),
  prefault_mb_per_s: medians(rates),
  shm_by_tcp_prefault: ratio(rates.shm, rates.tcp),
}
const json = `${JSON.stringify(report, null, 2)}\n`
if (options.json === '-') process.stdout.write(json)
else {
  const { stall_p50_us: us, prefault_mb_per_s: mb } = report
  console.log(
    `one client thread, random order, ${report.cpu}, Node ${report.node}, median of ${ROUNDS} rounds`,
  )
  console.log(
    `  stall p50: bare local handler ${us['bare block']} µs sleeping, ${us['bare spin']} µs spinning`,
  )
  console.log(`             attach --wait adaptive over shm ${us.shm} µs, over tcp ${us.tcp} µs`)
  console.log(`  shm ÷ bare: ${report.shm_by_bare_block} sleeping, ${report.shm_by_bare_spin} spinning`)
  console.log(
    `  prefault alone: shm ${mb.shm.toFixed(0)} MB/s, tcp ${mb.tcp.toFixed(0)} MB/s: ${report.shm_by_tcp_prefault} ×`,
  )
  if (options.json !== undefined) writeFileSync(options.json, json)
}
