import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { removeStaleLinks, whyNoNamespaces } from '../../src/bench-kit/namespace-link.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const bench = (...args: string[]) =>
  JSON.parse(
    execFileSync(process.execPath, [program, 'bench', ...args, '--json', '-'], {
      encoding: 'utf8',
      stdio: 'pipe',
    }),
  )

describe.skipIf(!userfaultfdOrSkipLoudly())('the benches run at their smoke size', () => {
  it('isolation: demand beside prefault, every page sent once', { timeout: 60_000 }, () => {
    const { cells } = bench('isolation', '--smoke', '--schedulings', 'S2', '--demands', 'none,light,walk')
    expect(cells.map((c: { scheduling: string; demand: string }) => `${c.scheduling} ${c.demand}`)).toEqual([
      'S2 none',
      'off light',
      'S2 light',
      'off walk',
      'S2 walk',
    ])
    for (const cell of cells) {
      expect(cell.sentPerUnique).toBe(1)
      expect(cell.duplicate).toBe(0)
      expect(cell.samples > 0).toBe(cell.demand !== 'none')
      if (cell.scheduling === 'off') expect(cell.prefaultMBps).toBe(0)
      if (cell.demand !== 'none') expect(cell.p50Us).toBeGreaterThan(5)
      // Who waits for what is in flight is told apart; none but them.
      expect(cell.promotedWaits).toBe(cell.promoted)
      expect(cell.promotedP99Us === null).toBe(cell.promoted === 0)
      expect(cell.promotedBoundUs === null).toBe(cell.demand === 'none' || cell.scheduling === 'off')
      if (cell.scheduling === 'off') expect(cell.promoted).toBe(0)
    }
    // A slow machine may have everything here before one of them begins to count.
    expect(cells.some((cell: { prefaultMBps: number }) => cell.prefaultMBps > 0)).toBe(true)
    // Whether a fault meets its page in flight is chance; that a wait takes time is not.
    for (const cell of cells) {
      if (cell.promoted === 0) continue
      expect(cell.promotedP99Us).toBeGreaterThanOrEqual(cell.promotedP50Us)
      expect(cell.promotedMaxUs).toBeGreaterThan(5)
    }
  })

  it('sweep: with prefault off every touch goes to the network', { timeout: 60_000 }, () => {
    const { cells, fits } = bench('sweep', '--smoke', '--orders', 'random', 'sparse')
    expect(cells.map(({ order }: { order: string }) => order)).toEqual([
      'random',
      'sparse',
      'random',
      'sparse',
    ])
    for (const cell of cells) {
      expect(cell.offFaults).toBe(20)
      expect(cell.onFaults).toBeLessThanOrEqual(20)
      expect(cell.sentPerUnique).toBe(1)
      if (cell.rttUs === 1000) expect(cell.offStallMs).toBeGreaterThan(20)
    }
    expect(fits).toHaveLength(1)
  })
})

const why = whyNoNamespaces()
if (why) process.stderr.write(`\n!! SKIPPED TESTS: the namespace link: ${why}\n`)

describe.skipIf(why !== undefined || !userfaultfdOrSkipLoudly())('the namespace link', () => {
  const namespaces = () => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
  async function startAndWait() {
    const args = [
      program,
      'bench',
      'isolation',
      '--links',
      'netns',
      '--schedulings',
      'S2',
      '--demands',
      'none',
      '--runs',
      '9',
    ]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const exit = once(child, 'exit')
    let said = ''
    const firstCell = new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.includes('run 1/9')) resolve() // A cell is over: everything is up.
      })
    })
    await Promise.race([firstCell, exit])
    expect(said).toContain('run 1/9')
    expect(namespaces()).toContain(`faultlane-${child.pid}-source`)
    return { child, exit }
  }

  it('is gone after an interrupt', { timeout: 60_000 }, async () => {
    const { child, exit } = await startAndWait()
    child.kill('SIGINT')
    expect(await exit).toEqual([130, null])
    expect(namespaces()).not.toContain(`faultlane-${child.pid}-`)
  })

  it('of a killed run is recognised and removed by the next, with what ran inside', {
    timeout: 60_000,
  }, async () => {
    const { child, exit } = await startAndWait()
    child.kill('SIGKILL')
    await exit
    expect(namespaces()).toContain(`faultlane-${child.pid}-source`)
    expect(removeStaleLinks()).toContain(`faultlane-${child.pid}-source`)
    expect(namespaces()).not.toContain(`faultlane-${child.pid}-`)
  })
})
