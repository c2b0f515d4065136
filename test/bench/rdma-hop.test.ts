import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

it('the work request bench runs, and every request comes back as its own completion', () => {
  const built = fileURLToPath(new URL('../../dist-bench/bench/rdma-hop.js', import.meta.url))
  const report = JSON.parse(
    execFileSync(process.execPath, [built, '--smoke', '--json', '-'], { encoding: 'utf8' }),
  )
  expect(report.samples).toBe(1000)
  for (const what of [
    'post_to_completion_ns',
    'in_batches_of_100_ns',
    'bare_ping_pong_in_place_ns',
    'bare_ping_pong_line_to_line_ns',
  ]) {
    const { p50, p99, p999 } = report[what]
    expect(p50).toBeGreaterThan(0)
    expect(p99).toBeGreaterThanOrEqual(p50)
    expect(p999).toBeGreaterThanOrEqual(p99)
  }
  expect(report.clock_ns).toBeGreaterThan(0)
})
