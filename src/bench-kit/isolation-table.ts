/** What `bench isolation` prints, and what its JSON says. */
import { cpus, release } from 'node:os'
import type { CellFigures, IsolationResult } from './isolation.ts'
import { figure, formatTable } from './table.ts'

const HEADER = [
  'link',
  'scheduling',
  'demand',
  'p50 µs',
  'p90',
  'p99',
  'p99.9',
  'max',
  'p50÷idle',
  'p99÷idle',
  'prefault MB/s',
  '÷alone',
  'link used',
  'demand MB/s',
  'CPU s/GB',
  'sent÷unique',
  'samples',
  'others’ CPU',
  'stolen',
  'still ms/s',
]

const PROMOTED_HEADER = [
  'link',
  'scheduling',
  'demand',
  'in flight',
  'p50 µs',
  'p99',
  'max',
  'bound',
  'p99÷bound',
]

/** Faults that met their page in flight; empty when none did. */
export function promotedTable(result: IsolationResult): string {
  const rows = result.figures.flatMap((f) =>
    f.promotedP99Us === null
      ? []
      : [
          [
            f.link,
            f.scheduling,
            f.demand,
            String(f.promotedWaits),
            figure(f.promotedP50Us),
            figure(f.promotedP99Us),
            figure(f.promotedMaxUs),
            figure(f.promotedBoundUs),
            figure(f.promotedBoundUs === null ? null : f.promotedP99Us / f.promotedBoundUs, 2),
          ],
        ],
  )
  if (rows.length === 0) return ''
  return [
    formatTable(PROMOTED_HEADER, rows, 3),
    '',
    'in flight: faults on a page that prefault had asked for already, which wait for that read; p50, p99: medians over the runs, max: the worst.',
    'bound, for S2: one quantum of bulk at the link’s rate (loopback: the rate of prefault alone), and the median of the same demand with prefault off.',
    '',
  ].join('\n')
}

export function isolationTable(result: IsolationResult): string {
  const rows = result.figures.map((f: CellFigures) => [
    f.link,
    f.scheduling,
    f.demand,
    ...(f.demand === 'none'
      ? ['-', '-', '-', '-', '-']
      : [f.p50Us, f.p90Us, f.p99Us, f.p999Us, f.maxUs].map((us) => figure(us))),
    figure(f.p50Ratio, 2),
    figure(f.p99Ratio, 2),
    figure(f.scheduling.endsWith('off') ? null : f.prefaultMBps),
    f.demand === 'none' ? '-' : figure(f.prefaultShare, 2),
    figure(f.linkShare, 2),
    figure(f.demandMBps, 1),
    figure(f.cpuSecondsPerGB > 0 ? f.cpuSecondsPerGB : null, 2),
    figure(f.sentPerUnique > 0 ? f.sentPerUnique : null, 3),
    String(f.samples),
    figure(f.foreignCores, 2),
    figure(f.stolenCores, 3),
    figure(f.stillMsPerS, 1),
  ])
  const promoted = promotedTable(result)
  const links = result.links.map(
    (link) => `${link.name}: ${link.about}; image ${link.imageBytes / 2 ** 20} MiB`,
  )
  return [
    formatTable(HEADER, rows, 3),
    '',
    ...(promoted === '' ? [] : [promoted]),
    ...links,
    'p50 to p99.9, MB/s, CPU: medians over the runs; max, sent÷unique: the worst; samples: faults in all runs.',
    'p50÷idle: the same demand with prefault off, in the same rounds. ÷alone: the same prefault with nobody touching.',
    'nbd: not faults but 4 KiB reads by nbdsh (libnbd), beside nbdcopy pulling with 4 × 64 KiB in flight on a second connection.',
    'others’ CPU: processors that other programs kept busy meanwhile; above 0.1 the tails are theirs as much as ours.',
    'stolen: processors that the host of this virtual machine kept from it; with 0.01 it stood still for 5 ms of a second, and a p99 is the host’s.',
    'still: milliseconds of each second in which not even a real-time thread could run, of which stolen may say nothing; from some 5 on a p99 of the open loop is the host’s. -: may not be watched (CAP_SYS_NICE).',
    'walk: one thread in address order, at whose heels prefault works: what it waits for counts as demand, though prefault brings most of it.',
    'A latency counts from the intended start; a touch that found its page there is no sample.',
  ].join('\n')
}

export function isolationJson(result: IsolationResult, node: string, wait: string): object {
  const round = (_key: string, value: unknown) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value
  const document = {
    bench: 'isolation',
    machine: { cpu: cpus()[0]?.model ?? '?', cores: cpus().length, kernel: release(), node },
    wait,
    links: result.links,
    cells: result.figures,
  }
  return JSON.parse(JSON.stringify(document, round)) as object
}
