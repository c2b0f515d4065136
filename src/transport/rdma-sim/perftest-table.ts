/** perftest's rows as a table for people, and where every figure of the preset comes from. */
import type { NicFigures } from './nic-figures.ts'
import { DEFAULT_NIC, nicPreset } from './nic-presets.ts'
import type { PerftestOptions, PerftestRow } from './perftest.ts'

const ORIGIN = {
  V: 'published',
  D: 'derived',
  R: 'recalled',
  guess: 'guess',
} as const

const UNITS: Partial<Record<keyof NicFigures, string>> = {
  lineGbps: 'Gb/s',
  mtu: 'B',
  chunkBytes: 'B',
  burstBytes: 'B',
  stagesPerByte: 'ns/B',
  wirePerByte: 'ns/B',
  pcieReadPerByte: 'ns/B',
  pcieReadFirstPerByte: 'ns/B',
  readGapPerByte: 'ns/B',
  readCapPerByte: 'ns/B',
  writeCapPerByte: 'ns/B',
}

export function formatPerftest(options: PerftestOptions, rows: readonly PerftestRow[]): string {
  const preset = nicPreset(options.nic ?? DEFAULT_NIC)
  const lines = [`${preset.name}: ${preset.title}, emulated, virtual time, seed ${options.seed ?? 1}`]
  const isBeside = (options.beside ?? 0) > 0
  const head = ['op', '#bytes', 'depth', 't_typical[us]', 't_99[us]', 't_999[us]', 'Mpps', 'Gb/s']
  if (isBeside) head.push('beside', 'sl', 'bulk Gb/s')
  const table = rows.map((row) => {
    const cells = [row.op, `${row.size}`, `${row.depth}`]
    cells.push(row.t_typical_us.toFixed(2), row.t_99_us.toFixed(2), row.t_999_us.toFixed(2))
    cells.push(row.mpps.toFixed(6), row.gbps.toFixed(2))
    if (isBeside) cells.push(`${row.beside}`, `${row.sl}`, (row.bulk_gbps ?? 0).toFixed(2))
    return cells
  })
  const widths = head.map((name, i) => Math.max(name.length, ...table.map((cells) => cells[i]!.length)))
  for (const cells of [head, ...table])
    lines.push(cells.map((cell, i) => cell.padStart(widths[i]!)).join('  '))
  lines.push(
    'WRITE and SEND: half of the round trip; READ and atomics: the whole operation. t_typical: the median.',
  )
  if (isBeside)
    lines.push('Beside bulk streams: the way shared with them. Waits on one lane are derived, not measured.')
  if (!preset.isReadCalibrated)
    lines.push(`READ latencies of ${preset.name} beyond its points are an estimate.`)
  return `${lines.join('\n')}\n\n${formatOrigins(preset.figures)}\n`
}

function formatOrigins(figures: NicFigures): string {
  const names = Object.keys(figures) as (keyof NicFigures)[]
  const lines = names.map((name) => {
    const { value, origin, note } = figures[name]
    return `  ${name.padEnd(20)} ${`${value}`.padStart(9)} ${(UNITS[name] ?? 'ns').padEnd(4)}  ${ORIGIN[origin].padEnd(9)}  ${note}`
  })
  return ['Where the figures come from:', ...lines].join('\n')
}
