/**
 * The outside peer, where it is installed: nbdkit serving a pattern in memory, `nbdsh` reading 4 KiB at a time on
 * one connection while `nbdcopy` pulls everything on a second one, 4 × 64 KiB in flight. Reads, not faults: what a
 * fault handler built on libnbd would see of the network, without the fault.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FaultlaneError } from '../errors.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { Daemon } from './daemons.ts'
import type { Demand, DemandName } from './faulting-client.ts'
import type { CellLimits, CellSample } from './isolation-cell.ts'
import type { OpenLink } from './links.ts'

export const PEER = 'nbd'
/** What one thread of nbdsh can do. */
export const PEER_DEMANDS: ReadonlySet<DemandName> = new Set(['light', 'heavy1'])
const PORT = 10_809
const BYTES = 8 * 2 ** 30
/** Debian's python3 has the binding; another python3 in front of it has not. */
const ENV = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin']

/** Why the peer cannot run; undefined: it can. */
export function whyNoPeer(): string | undefined {
  for (const words of [
    ['nbdkit', '--version'],
    ['nbdcopy', '--version'],
    ['nbdsh', '-c', 'pass'],
  ]) {
    try {
      execFileSync('env', [...ENV, ...words], { stdio: 'pipe' })
    } catch {
      return `${words[0]} does not run here (Debian: nbdkit libnbd-bin python3-libnbd)`
    }
  }
  return undefined
}

/** Reads for a time and prints every latency in nanoseconds, counted from the intended start as ours are. */
const READER = `
import random, time
rng = random.Random(seed)
now = time.perf_counter_ns
out = []
end = now() + int(seconds * 1e9)
intended = now()
while now() < end:
    offset = rng.randrange(size // 4096) * 4096
    start = now()
    if gap > 0:
        intended += int(rng.expovariate(1 / gap))
        free = start < intended
        if free: time.sleep((intended - start) / 1e9)
        start = now() if free else intended
    h.pread(4096, offset)
    out.append(now() - start)
print(*out)
`

export async function runPeerCell(
  link: OpenLink,
  demand: Demand,
  isPulling: boolean,
  limits: CellLimits,
  seed: number,
  signal: AbortSignal,
): Promise<CellSample> {
  const uri = `nbd://${link.sourceIp}:${PORT}`
  // 8 GiB last longer than any measurement; the pattern costs no memory.
  const statsPath = join(link.folder, 'nbdkit.stats')
  const serve = ['nbdkit', '-f', '--filter=stats', '--ipaddr', link.sourceIp, '--port', String(PORT)]
  const server = await Daemon.start(
    ['env', ...ENV, ...serve, 'pattern', String(BYTES), `statsfile=${statsPath}`],
    link.atSource,
    '',
  )
  let pull: Daemon | undefined
  let pullStartMs = 0
  let sample: CellSample
  let pullMs = 0
  let cpuNs = 0
  try {
    pullStartMs = performance.now()
    const copy = ['nbdcopy', '--connections=1', '--requests=4', '--request-size=65536', uri, 'null:']
    if (isPulling) pull = await Daemon.start(['env', ...ENV, ...copy], link.atDestination, '')
    await delay(limits.warmMs, undefined, { signal })
    sample = await read(link, uri, demand, limits, seed, signal)
    pullMs = performance.now() - pullStartMs
    cpuNs = server.cpuNs() + (pull?.cpuNs() ?? 0)
  } finally {
    await pull?.kill()
    await server.stop()
  }
  if (!isPulling) return sample
  const bytes = bytesServed(statsPath) - sample.faults * 4096
  return { ...sample, prefaultMBps: bytes / pullMs / 1000, cpuSecondsPerGB: cpuNs / bytes }
}

const UNITS: Record<string, number> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

/** What nbdkit's stats filter wrote when it ended. */
function bytesServed(path: string): number {
  const match = /^read: .*?([\d.]+) (KiB|MiB|GiB|TiB),/m.exec(readFileSync(path, 'utf8'))
  return match ? Number(match[1]) * (UNITS[match[2] as string] as number) : 0
}

async function read(
  link: OpenLink,
  uri: string,
  demand: Demand,
  limits: CellLimits,
  seed: number,
  signal: AbortSignal,
): Promise<CellSample> {
  const given = `seconds, gap, seed, size = ${limits.measureMs / 1000}, ${demand.meanGapNs}, ${seed}, ${BYTES}`
  const args = ['-u', uri, '-c', given, '-c', READER]
  const [file, ...words] = [...link.atDestination, 'env', ...ENV, 'nbdsh', ...args] as [string, ...string[]]
  const reader = spawn(file, words, { stdio: ['ignore', 'pipe', 'inherit'], signal })
  let text = ''
  reader.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  const startMs = performance.now()
  const [code] = (await once(reader, 'close')) as [number | null]
  if (code !== 0)
    throw new FaultlaneError({ code: 'WORKER_DIED', role: 'nbdsh', reason: `it ended with code ${code}` })
  const windowMs = performance.now() - startMs
  const histogram = new LatencyHistogram(LatencyHistogram.allocate())
  const latencies = text.trim() === '' ? [] : text.trim().split(' ')
  for (const ns of latencies) histogram.record(Number(ns))
  return {
    latency: histogram.snapshot(),
    latenessP99Us: 0,
    faults: latencies.length,
    hits: 0,
    windowMs,
    prefaultMBps: 0,
    demandMBps: (latencies.length * 4096) / windowMs / 1000,
    cpuSecondsPerGB: 0,
    sentPerUnique: 0,
    duplicate: 0,
    hedged: 0,
    promoted: 0,
    promotedUs: { count: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 },
    foreignCores: 0,
    stolenCores: 0,
    stillMsPerS: null,
  }
}
