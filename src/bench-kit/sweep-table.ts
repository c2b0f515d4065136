/** What `bench sweep` prints. */
import { SETTLED_MS, type SweepResult } from './sweep.ts'
import { figure, formatTable } from './table.ts'

const HEADER = [
  'rate',
  'RTT µs',
  'order',
  'off ms',
  'on ms',
  'on÷off',
  'faults off',
  'faults on',
  'in flight',
  'came twice',
  'on p99 µs',
  'sent÷unique',
]

export function sweepTable(result: SweepResult): string {
  const rows = result.cells.map((cell) => [
    cell.rate,
    figure(cell.rttUs),
    cell.order,
    figure(cell.offMs, 1),
    figure(cell.onMs, 1),
    figure(cell.ratio, 3),
    figure(cell.offFaults),
    figure(cell.onFaults),
    figure(cell.promoted),
    figure(cell.duplicate),
    figure(cell.onP99Us),
    figure(cell.sentPerUnique, 3),
  ])
  const fits = result.fits.map(
    (fit) =>
      `${fit.rate}: stall = ${fit.t0Ms.toFixed(1)} ms + ${fit.k.toFixed(3)} × RTT × network faults, ` +
      `R² ${fit.r2.toFixed(5)}, worst cell ${(fit.worstCell * 100).toFixed(1)} % off the line (prefault off, random)`,
  )
  const touched = result.touches / (result.imageBytes / 4096)
  const sparse = `${(100 * touched).toFixed(1)} % of it, at random`
  const about = [
    'Links are emulated inside the source. on÷off: completion with prefault ÷ without, medians.',
    `random, sequential: a third of the client’s memory is touched; sparse: ${sparse}.`,
    `A client comes ${SETTLED_MS} ms after its handler is ready, and touches at once.`,
    'in flight: faults on a page that prefault had asked for already; they wait for it, and it must not come twice.',
  ]
  return [formatTable(HEADER, rows, 3), '', ...fits, ...result.linkWords, ...about].join('\n')
}
