import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

it('the work request bench runs, and every request comes back as its own completion', () => {
  const built = fileURLToPath(new URL('../../dist-bench/bench/rdma-hop.js', import.meta.url))
  const report = JSON.parse(
    execFileSync(process.execPath, [built, '--smoke', '--json', '-'], { encoding: 'utf8' }),
  )
  expect(report.samples).toBe(1000)
  const { p50, p99, p999 } = report.post_to_completion_ns
  expect(p50).toBeGreaterThan(0)
  expect(p99).toBeGreaterThanOrEqual(p50)
  expect(p999).toBeGreaterThanOrEqual(p99)
})
