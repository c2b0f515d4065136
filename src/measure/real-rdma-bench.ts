/**
 * `faultlane bench rdma --real`: READs through the emulated NIC in real time, of an image that another process
 * serves, against the same READs in virtual time. What is more than modelled is this host's lateness.
 */

import { textTable } from '../report/text-table.ts'
import { openRdmaSimChannel } from '../transport/rdma-sim/channel.ts'
import { runPerftest } from '../transport/rdma-sim/perftest.ts'
import { measureLatency, type ReadLatency } from './channel-reads.ts'
import type { Program } from './child.ts'
import { withSource } from './transport-bench.ts'

export interface RealRdmaOptions {
  readonly faultlane: Program
  readonly nic: string
  readonly dilation: number
  /** Bytes of a READ: whole pages, no more than a channel takes. */
  readonly sizes: readonly number[]
  readonly samples: number
}

export interface RealRdmaRow extends ReadLatency {
  readonly nic: string
  readonly op: 'read'
  readonly size: number
  readonly depth: 1
  readonly dilation: number
  /** Median in virtual time. */
  readonly modelled_us: number
  /** Median in real time, divided by the dilation. */
  readonly measured_us: number
  readonly measured_by_modelled: number
}

export const PAGE_BYTES = 4096
export const REAL_SIZE_MAX = 65_536
const IMAGE_BYTES = 16 * 2 ** 20

export async function runRealRdma(options: RealRdmaOptions): Promise<RealRdmaRow[]> {
  const { nic, dilation, sizes, samples } = options
  return await withSource({ ...options, bytes: IMAGE_BYTES }, 'rdma-sim', async (url) => {
    const channel = openRdmaSimChannel(url, 'demand')
    try {
      return sizes.map((size) => {
        const [row] = runPerftest({ nic, op: 'read', sizes: [size], iterations: 100 })
        const modelled = row!.t_typical_us
        const latency = measureLatency(channel, samples, size / PAGE_BYTES)
        const measured = round(latency.read_us.p50 / dilation)
        const ratio = round(measured / modelled)
        const head = { nic, op: 'read', size, depth: 1, dilation } as const
        return {
          ...head,
          modelled_us: modelled,
          measured_us: measured,
          measured_by_modelled: ratio,
          ...latency,
        }
      })
    } finally {
      channel.close()
    }
  })
}

export function realRdmaText(rows: readonly RealRdmaRow[]): string {
  const heading = [
    '#bytes',
    'modelled[us]',
    'measured[us]',
    'ratio',
    'late p50[us]',
    'late p99[us]',
    'late p99.9[us]',
  ]
  const lines = rows.map((row) => [
    `${row.size}`,
    row.modelled_us.toFixed(2),
    row.measured_us.toFixed(2),
    row.measured_by_modelled.toFixed(3),
    ...[row.late_us!.p50, row.late_us!.p99, row.late_us!.p999].map((us) => us.toFixed(2)),
  ])
  const { nic, dilation, samples } = rows[0]!
  return `${nic}, emulated, READ, depth 1, ${samples} samples, real time slowed down ${dilation} times
${textTable(heading, lines)}
measured: the median from post to delivery, divided by ${dilation}; late: real time beyond the model's.`
}

function round(value: number): number {
  return Number(value.toFixed(4))
}
