/** What `bench ablation` prints, and what its JSON says. */
import { cpus, release } from 'node:os'
import { LEVELS, type LevelName } from '../levels.ts'
import type { AblationFigures, AblationResult } from './ablation.ts'
import { figure, formatTable } from './table.ts'

const HEADER = [
  'link',
  'demand',
  'off',
  'p50 µs',
  'p99 µs',
  'p50÷idle',
  'p99÷idle',
  'prefault MB/s',
  '÷alone',
  'sent÷unique',
  'hedged',
  'samples',
]

export function ablationTable(result: AblationResult): string {
  const rows = result.figures.map((f) => [
    f.link,
    f.demand,
    f.off,
    figure(f.p50Us),
    figure(f.p99Us),
    figure(f.p50Ratio, 2),
    figure(f.p99Ratio, 2),
    figure(f.prefaultMBps),
    figure(f.rateRatio, 2),
    figure(f.sentPerUnique, 3),
    String(f.hedged),
    String(f.samples),
  ])
  return [
    formatTable(HEADER, rows, 3),
    '',
    ...result.links.map((link) => `${link.name}: ${link.about}; image ${link.imageBytes / 2 ** 20} MiB`),
    `${result.figures[0]?.runs ?? 0} interleaved rounds, medians. ÷idle: the same demand with prefault off; ÷alone: the prefault with nobody touching; all levels on in both.`,
    'A difference is told when it is beyond every run with all levels on, and a tenth at least.',
    ...(result.without.length === 0 ? [] : [`In all rows without ${result.without.join(', ')}.`]),
    '',
    ...result.figures.filter((f) => f.worth !== '').map(sentence),
  ].join('\n')
}

function sentence(f: AblationFigures): string {
  const level = f.off in LEVELS ? LEVELS[f.off as LevelName] : undefined
  const what = level ? `${f.off} (${level.on}; off: ${level.off}) is worth` : `${f.off} is worth`
  return `${f.link}, ${f.demand}, ${what}: ${f.worth}`
}

export function ablationJson(result: AblationResult, node: string, wait: string): object {
  const round = (_key: string, value: unknown) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value
  const document = {
    bench: 'ablation',
    machine: { cpu: cpus()[0]?.model ?? '?', cores: cpus().length, kernel: release(), node },
    wait,
    without: result.without,
    links: result.links,
    levels: LEVELS,
    cells: result.figures,
  }
  return JSON.parse(JSON.stringify(document, round)) as object
}
