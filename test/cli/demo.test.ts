import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { DemoReport } from '../../src/measure/demo-report.ts'
import type { FaultBenchReport } from '../../src/measure/fault-bench-report.ts'
import { compilerOrSkipLoudly, userfaultfdOrSkipLoudly } from '../need.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Of these runs alone, so that what they leave behind can be told from others'. */
const folder = mkdtempSync(join(tmpdir(), 'demo-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function faultlane(args: string[], env: NodeJS.ProcessEnv = {}) {
  return spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: folder, ...env },
    timeout: 100_000,
  })
}

function expectWhole(report: DemoReport, pages: number): void {
  expect(report.every_byte_checked).toBe(true)
  expect(report.runs.map(({ workload, prefault }) => `${workload} ${prefault}`)).toEqual([
    'random off',
    'random shared',
    'random own-lane',
    'sequential off',
    'sequential shared',
    'sequential own-lane',
  ])
  for (const run of report.runs) {
    const isPartial = run.workload === 'random' && run.prefault === 'off'
    const here = isPartial ? run.pages_touched : pages
    expect(run).toMatchObject({
      pages_total: pages,
      pages_checked: here,
      pages_corrupt: 0,
      pages_unique: here,
    })
    expect(run.pages_sent).toBe(here)
    if (isPartial) expect(run.all_here_ms).toBeNull()
    else expect(run.all_here_ms).toBeGreaterThan(0)
    if (run.prefault === 'off') expect(run.stalls.count).toBe(run.pages_touched)
  }
  for (const workload of [report.ratios.random, report.ratios.sequential]) {
    for (const { p50, p99, sum } of Object.values(workload)) {
      // 0: prefault was there before every touch.
      for (const ratio of [p50, p99, sum]) expect(ratio).toBeGreaterThanOrEqual(0)
    }
  }
}

describe('faultlane demo', () => {
  it.skipIf(!userfaultfdOrSkipLoudly())(
    'brings all memory here in every run, every byte checked',
    () => {
      const { status, stdout, stderr } = faultlane(['demo', '--quick', '--json', '-'])
      expect(stderr).toContain('none wrong')
      expect(status).toBe(0)
      const report = JSON.parse(stdout) as DemoReport
      expect(report.over).not.toBe('lazy')
      expectWhole(report, 16_384)
      expect(stderr).toContain(report.conclusion)
      expect(readdirSync(folder)).toEqual([])
    },
    60_000,
  )

  it('does the same over LazyMemory', () => {
    const { status, stdout } = faultlane(['demo', '--size', '16MiB', '--over', 'lazy', '--json', '-'])
    expect(status).toBe(0)
    expectWhole(JSON.parse(stdout) as DemoReport, 4096)
  }, 60_000)

  it.each(['auto', 'lazy'])(
    'stops when it is told to, over %s, and takes its processes and folders with it',
    async (over) => {
      const env = { ...process.env, TMPDIR: folder }
      const args = [main, 'demo', '--size', '128MiB', '--over', over]
      const demo = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
      const ended = once(demo, 'exit')
      let said = ''
      demo.stderr.on('data', (text) => {
        said += text
      })
      // In the midst of faults.
      await expect.poll(() => said, { timeout: 20_000 }).toContain('random touches')
      const children = readFileSync(`/proc/${demo.pid}/task/${demo.pid}/children`, 'utf8').trim().split(' ')
      expect(children).toHaveLength(over === 'lazy' ? 1 : 2)
      demo.kill('SIGTERM')
      expect(await ended).toEqual([130, null])
      for (const pid of children) expect(existsSync(`/proc/${pid}`)).toBe(false)
      expect(readdirSync(folder)).toEqual([])
      expect(said).not.toMatch(/\n\s+at /)
    },
    60_000,
  )

  it('runs over an emulated link when asked, and says so', () => {
    const { status, stdout, stderr } = faultlane([
      ...['demo', '--size', '4MiB', '--over', 'lazy', '--link', '1gbit/200us', '--json', '-'],
    ])
    expect(stderr).toContain('A link of 1gbit/200us, emulated in the source')
    expect(status).toBe(0)
    const report = JSON.parse(stdout) as DemoReport
    expect(report.link).toBe('1gbit/200us')
    expectWhole(report, 1024)
    // No page comes sooner than a round trip after it was asked for.
    for (const run of report.runs.filter(({ prefault }) => prefault === 'off')) {
      expect(run.stalls.p50_us).toBeGreaterThan(200)
    }
  }, 60_000)

  it('says what is wrong with a link, before anything is started', () => {
    const { status, stderr } = faultlane(['demo', '--link', 'fast'])
    expect(stderr).toMatch(/fast.*RATE\/RTT/s)
    expect(status).toBe(2)
  })

  it('says what is wrong with a size', () => {
    const { status, stderr } = faultlane(['demo', '--size', '5000'])
    expect(stderr).toMatch(/--size.*'5000'.*whole MiB/s)
    expect(status).toBe(2)
  })
})

describe.skipIf(!userfaultfdOrSkipLoudly())('faultlane bench fault', () => {
  const smoke = ['bench', 'fault', '--size', '4MiB', '--touches', '300', '--rounds', '1', '--json', '-']

  it('measures Faultlane alone where there is no compiler, and says so', () => {
    const { status, stdout } = faultlane([...smoke, '--wait', 'block'], {
      ...process.env,
      PATH: '/nonexistent',
    })
    expect(status).toBe(0)
    const report = JSON.parse(stdout) as FaultBenchReport
    expect(report.without_c).toBe('there is no C compiler (cc) on PATH')
    expect(report.stalls).toHaveLength(1)
    expect(report.stalls[0]).toMatchObject({ ends: 'faultlane', client: 'faultlane', wait: 'block' })
    expect(report.stalls[0]!.median).toMatchObject({ touches: 300, count: 300 })
    expect(report.prefault_mb_per_s).toMatchObject({ pagebase: null })
    expect(report.prefault_mb_per_s!.raw_tcp).toBeGreaterThan(0)
  }, 60_000)

  it.skipIf(!compilerOrSkipLoudly())(
    'takes turns with the reference programs where there is one',
    () => {
      const { status, stdout } = faultlane([
        ...smoke,
        '--wait',
        'adaptive,block',
        '--order',
        'zipf',
        '--threads',
        '3',
      ])
      expect(status).toBe(0)
      const report = JSON.parse(stdout) as FaultBenchReport
      expect(report.without_c).toBeNull()
      expect(report.stalls.map(({ ends, client, wait }) => `${ends} ${client} ${wait}`)).toEqual([
        'pagebase pagebase block',
        'faultlane pagebase adaptive',
        'faultlane faultlane adaptive',
        'faultlane pagebase block',
        'faultlane faultlane block',
      ])
      for (const { value } of report.measures) expect(value).toBeGreaterThan(0)
      expect(report.measures.map(({ name }) => name)).toContain('stall p50, adaptive ÷ pagebase block')
      expect(report.measures.map(({ name }) => name)).toContain(
        'prefault rate, settled ÷ pagebase --prefault',
      )
      expect(readdirSync(folder)).toEqual([])
    },
    60_000,
  )
})
