import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { compilerOrSkipLoudly, userfaultfdOrSkipLoudly } from '../need.ts'

describe.skipIf(!compilerOrSkipLoudly() || !userfaultfdOrSkipLoudly())('the shm bench', () => {
  it('runs, every byte right, and its ratios are those of its figures', () => {
    const bench = fileURLToPath(new URL('../../bench/shm-stall.mjs', import.meta.url))
    const report = JSON.parse(
      execFileSync(process.execPath, [bench, '--smoke', '--json', '-'], { encoding: 'utf8' }),
    )
    expect(report.rounds).toBe(1)
    const { stall_p50_us: us, prefault_mb_per_s: mb } = report
    for (const figure of [...Object.values(us), ...Object.values(mb)]) expect(figure).toBeGreaterThan(0)
    expect(report.shm_by_bare_block).toBeCloseTo(us.shm / us['bare block'], 1)
    expect(report.shm_by_tcp_prefault).toBeCloseTo(mb.shm / mb.tcp, 1)
  })
})
