/**
 * `faultlane bench transport`: the same image over every transport, a source process each, read in this one. What the
 * emulated NIC shows is a model's figure plus this host's lateness; both are told apart.
 */
import { formatUs, textTable, threeDigits } from '../report/text-table.ts'
import { RdmaSimChannel } from '../transport/rdma-sim/channel.ts'
import { loadTransport } from '../workers/transports.ts'
import { measureLatency, measurePull, type ReadLatency } from './channel-reads.ts'
import { Child, makeFolder, type Program, removeFolder } from './child.ts'

export const TRANSPORTS = ['tcp', 'shm', 'rdma-sim'] as const
export type TransportName = (typeof TRANSPORTS)[number]

export interface TransportBenchOptions {
  readonly faultlane: Program
  readonly transports: readonly TransportName[]
  readonly bytes: number
  readonly samples: number
  readonly nic: string
  readonly dilation: number
  readonly onProgress: (text: string) => void
}

export interface TransportRow extends ReadLatency {
  readonly transport: TransportName
  /** The NIC that is emulated; null: nothing is. */
  readonly emulated: string | null
  readonly dilation: number
  readonly pull_mb_per_s: number
}

/** As the prefault lane reads, and how much of it: rounds so that small images are not over at once. */
const PULL_PAGES = 16
const PULL_BYTES_MIN = 64 * 2 ** 20

export async function runTransportBench(options: TransportBenchOptions): Promise<TransportRow[]> {
  const rows: TransportRow[] = []
  for (const transport of options.transports) {
    options.onProgress(transport)
    rows.push(await withSource(options, transport, (url) => measure(transport, url, options)))
  }
  return rows
}

/** Starts a source of our own on `transport` for as long as `use` takes. */
export async function withSource<T>(
  options: Pick<TransportBenchOptions, 'faultlane' | 'bytes' | 'nic' | 'dilation'>,
  transport: TransportName,
  use: (url: string) => Promise<T>,
): Promise<T> {
  const folder = makeFolder('faultlane-transport')
  const listen = transport === 'tcp' ? 'tcp://127.0.0.1:0' : `${transport}:${folder}/source`
  const isEmulated = transport === 'rdma-sim'
  const args = ['serve', '--synthetic', String(options.bytes), '--listen', listen]
  if (isEmulated) args.push('--nic', options.nic)
  const source = new Child(`the source over ${transport}`, options.faultlane, args)
  try {
    const [, url] = await source.said(/^ready (\S+)/)
    return await use(isEmulated ? `${url}?dilation=${options.dilation}` : (url as string))
  } finally {
    await source.stop()
    removeFolder(folder)
  }
}

async function measure(
  transport: TransportName,
  url: string,
  { bytes, samples }: TransportBenchOptions,
): Promise<TransportRow> {
  const road = await loadTransport(url)
  const demand = road.open(url, 'demand')
  const bulk = road.open(url, 'prefault')
  try {
    const latency = measureLatency(demand, samples)
    measurePull(bulk, PULL_PAGES, 1)
    const rounds = Math.ceil(PULL_BYTES_MIN / bytes)
    const pull = measurePull(bulk, PULL_PAGES, rounds)
    const isEmulated = demand instanceof RdmaSimChannel
    return {
      transport,
      emulated: isEmulated ? demand.nicName : null,
      dilation: isEmulated ? demand.dilation : 1,
      ...latency,
      pull_mb_per_s: Math.round(pull),
    }
  } finally {
    demand.close()
    bulk.close()
  }
}

export function transportBenchText(rows: readonly TransportRow[]): string {
  const heading = ['transport', 'read p50', 'p99', 'p99.9', 'pull', 'NIC p50', 'late p50', 'late p99']
  const lines = rows.map(({ transport, read_us, nic_us, late_us, pull_mb_per_s }) => [
    transport,
    formatUs(read_us.p50),
    formatUs(read_us.p99),
    formatUs(read_us.p999),
    `${threeDigits(pull_mb_per_s)} MB/s`,
    nic_us ? formatUs(nic_us.p50) : '',
    late_us ? formatUs(late_us.p50) : '',
    late_us ? formatUs(late_us.p99) : '',
  ])
  const notes = [
    `4 KiB reads, ${rows[0]?.samples ?? 0} of each, one at a time, spinning; pull: 64 KiB reads.`,
  ]
  const emulated = rows.find((row) => row.emulated !== null)
  if (emulated) {
    const slow = emulated.dilation === 1 ? '' : `, slowed down ${emulated.dilation} times`
    notes.push(
      `rdma-sim is emulated: ${emulated.emulated}${slow}. NIC: what the model says; late: this host's delay behind it.`,
    )
  }
  return `${textTable(heading, lines)}\n${notes.join('\n')}`
}
