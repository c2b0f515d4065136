/**
 * The latency distributions of the schedulings over one another, as one SVG file that needs nothing else. Across:
 * microseconds, logarithmic. Up: the share of demand faults that took no longer, stretched towards the tail
 * (50, 90, 99, 99.9 %), as in an HDR plot. One panel per link and demand.
 */
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import type { IsolationResult } from './isolation.ts'

const COLOURS: Record<string, string> = {
  off: '#888888',
  S0: '#d62728',
  S1: '#ff7f0e',
  S2: '#1a7f37',
  S3: '#1f6fd6',
  S4: '#8a4fbf',
  nbd: '#8c564b',
  'nbd-off': '#c49c94',
}
const PANEL = { width: 460, height: 300, left: 58, right: 34, top: 34, bottom: 44 }
const NINES_MAX = 3.3

export function isolationPicture(result: IsolationResult): string {
  const panels = new Map<string, [string, LatencySnapshot][]>()
  for (const [key, latency] of result.latencies) {
    const [link, scheduling, demand] = key.split('|') as [string, string, string]
    if (demand === 'none' || latency.count === 0) continue
    const title = `${link} · ${demand}`
    panels.set(title, [...(panels.get(title) ?? []), [scheduling, latency]])
  }
  const columns = Math.min(2, Math.max(1, panels.size))
  const width = columns * PANEL.width
  const height = Math.ceil(panels.size / columns) * PANEL.height + 40
  const drawn = [...panels].map(([title, curves], i) => {
    const x = (i % columns) * PANEL.width
    const y = Math.floor(i / columns) * PANEL.height
    return `<g transform="translate(${x},${y})">${drawPanel(title, curves)}</g>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui,sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
${drawn.join('\n')}
<text x="12" y="${height - 14}" fill="#444">Demand beside a saturating prefault (“off”: without). Right is slower.</text>
</svg>
`
}

function drawPanel(title: string, curves: readonly [string, LatencySnapshot][]): string {
  const plotWidth = PANEL.width - PANEL.left - PANEL.right
  const plotHeight = PANEL.height - PANEL.top - PANEL.bottom
  const low = Math.floor(
    Math.log10(Math.max(1, Math.min(...curves.map(([, l]) => l.percentileNs(1) / 1000)))),
  )
  const high = Math.ceil(Math.log10(Math.max(10, ...curves.map(([, l]) => l.percentileNs(99.95) / 1000))))
  const xOf = (us: number) => PANEL.left + (plotWidth * (Math.log10(us) - low)) / (high - low)
  const yOf = (nines: number) => PANEL.top + plotHeight * (1 - Math.min(nines, NINES_MAX) / NINES_MAX)
  const parts = [`<text x="${PANEL.left}" y="20" font-size="13" font-weight="600">${title}</text>`]
  for (const [label, share] of [
    ['0', 0],
    ['50', 0.5],
    ['90', 0.9],
    ['99', 0.99],
    ['99.9', 0.999],
  ] as const) {
    const y = yOf(-Math.log10(1 - share)).toFixed(1)
    parts.push(
      `<line x1="${PANEL.left}" x2="${PANEL.width - PANEL.right}" y1="${y}" y2="${y}" stroke="#e4e4e4"/>`,
    )
    parts.push(
      `<text x="${PANEL.left - 6}" y="${Number(y) + 4}" text-anchor="end" fill="#555">${label} %</text>`,
    )
  }
  for (let decade = low; decade <= high; decade++) {
    const x = xOf(10 ** decade).toFixed(1)
    parts.push(
      `<line x1="${x}" x2="${x}" y1="${PANEL.top}" y2="${PANEL.height - PANEL.bottom}" stroke="#e4e4e4"/>`,
    )
    const label =
      decade >= 6
        ? `${10 ** (decade - 6)} s`
        : decade >= 3
          ? `${10 ** (decade - 3)} ms`
          : `${10 ** decade} µs`
    parts.push(
      `<text x="${x}" y="${PANEL.height - PANEL.bottom + 15}" text-anchor="middle" fill="#555">${label}</text>`,
    )
  }
  const sorted = [...curves].sort(([a], [b]) => (a < b ? -1 : 1))
  sorted.forEach(([scheduling, latency], i) => {
    const colour = COLOURS[scheduling] ?? '#000000'
    const dash = scheduling.endsWith('off') ? ' stroke-dasharray="5 3"' : ''
    const weight = scheduling === 'S2' ? 2.4 : 1.5
    parts.push(
      `<path d="${curve(latency, xOf, yOf, 10 ** low)}" fill="none" stroke="${colour}" stroke-width="${weight}"${dash}/>`,
    )
    // Top left: nothing is fast at its tail.
    const y = PANEL.top + 16 + 14 * i
    const x = PANEL.left + 10
    parts.push(
      `<line x1="${x}" x2="${x + 16}" y1="${y - 4}" y2="${y - 4}" stroke="${colour}" stroke-width="${weight}"${dash}/>`,
    )
    parts.push(`<text x="${x + 20}" y="${y}">${scheduling}</text>`)
  })
  return parts.join('\n')
}

function curve(
  latency: LatencySnapshot,
  xOf: (us: number) => number,
  yOf: (nines: number) => number,
  lowUs: number,
): string {
  const points: string[] = []
  let seen = 0
  for (const { middleNs, count } of latency.buckets()) {
    seen += count
    const nines = seen >= latency.count ? Math.log10(latency.count) : -Math.log10(1 - seen / latency.count)
    const us = Math.max(lowUs, middleNs / 1000)
    points.push(`${points.length === 0 ? 'M' : 'L'}${xOf(us).toFixed(1)} ${yOf(nines).toFixed(1)}`)
    if (nines >= NINES_MAX) break
  }
  return points.join('')
}
