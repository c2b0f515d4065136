import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

it('the ring bench runs, and every record of every way arrives', () => {
  const built = fileURLToPath(new URL('../../dist-bench/bench/ring.js', import.meta.url))
  const report = JSON.parse(
    execFileSync(process.execPath, [built, '--smoke', '--json', '-'], { encoding: 'utf8' }),
  )
  expect(Object.keys(report.records_per_s)).toEqual([
    'ring batch',
    'ringbuf record',
    'ring single',
    'ringbuf block',
    'port',
  ])
  for (const figure of [
    ...Object.values(report.records_per_s),
    ...Object.values(report.ratios),
    report.hop_ns.p50,
  ]) {
    expect(figure).toBeGreaterThan(0)
  }
})
