/** Levels switched off in real daemons: what the kernel says of their threads and sockets, and that every byte comes all the same. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PREFAULT_NICE } from '../../src/config.ts'
import { levelsAt } from '../../src/levels.ts'
import { allowedProcessors } from '../../src/native/sched.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'
import { Bench, type Running } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname
const BYTES = 8 << 20

let bench: Bench
let sockets = 0
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

async function attach(url: string, ...args: string[]): Promise<Running> {
  const socket = bench.path(`s${++sockets}`)
  const run = bench.faultlane('attach', '--socket', socket, '--source', url, '--wait', 'block', ...args)
  await run.says(/^ready/m)
  return run
}
const without = (...levels: string[]) => (levels.length === 0 ? [] : ['--without', levels.join(',')])

/** Of each thread: how nice it is, and where it may run. */
function threadsOf({ child }: Running): { nice: number; processors: string }[] {
  return readdirSync(`/proc/${child.pid}/task`).map((thread) => {
    const read = (name: string) => readFileSync(`/proc/${child.pid}/task/${thread}/${name}`, 'utf8')
    const fields = read('stat')
      .replace(/^.*\) /, '')
      .split(' ')
    return {
      nice: Number(fields[16]),
      processors: /^Cpus_allowed_list:\s*(\S+)/m.exec(read('status'))?.[1] ?? '',
    }
  })
}

/** Connections over TCP that a process has open. */
function connectionsOf({ child }: Running): number {
  const established = readFileSync(`/proc/${child.pid}/net/tcp`, 'utf8')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '01')
    .map((fields) => fields[9])
  const open = readdirSync(`/proc/${child.pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${child.pid}/fd/${fd}`)
    } catch {
      return '' // Closed meanwhile.
    }
  })
  return established.filter((inode) => open.includes(`socket:[${inode}]`)).length
}

describe('a level that is off', () => {
  it('class: no thread is nicer than the others', async () => {
    const { url } = await bench.serve('--synthetic', '1MiB')
    const nicest = (run: Running) => {
      const nices = threadsOf(run).map(({ nice }) => nice)
      return Math.max(...nices) - Math.min(...nices)
    }
    // Prefault follows when clients may already come. It is nice a moment after it has its connection.
    const [off, on] = [await attach(url, ...without('class')), await attach(url)]
    await expect.poll(() => nicest(on), { timeout: 10_000 }).toBe(PREFAULT_NICE)
    await expect.poll(() => connectionsOf(off), { timeout: 10_000 }).toBe(2)
    expect(nicest(off)).toBe(0)
  })

  it.skipIf(availableParallelism() !== 2)('affinity: every thread may run on either processor', async () => {
    const [first, second] = allowedProcessors().map(String)
    const on = (run: Running, cpu = first) => threadsOf(run).filter((t) => t.processors === cpu).length
    const bound = await bench.serve('--synthetic', '1MiB')
    const free = await bench.serve('--synthetic', '1MiB', ...without('affinity'))
    const attached = await attach(bound.url)
    const freely = await attach(bound.url, ...without('affinity'))
    for (const run of [bound.source, attached]) {
      expect(on(run)).toBe(1)
      expect(on(run, second)).toBeGreaterThan(0) // The engine's helpers.
    }
    for (const run of [free.source, freely]) expect(on(run) + on(run, second)).toBe(0)
  })

  it('connection: one instead of two', async () => {
    const { url } = await bench.serve('--synthetic', '1MiB')
    // A prefault agent still rehearses with itself for a moment.
    const [two, one] = [await attach(url), await attach(url, ...without('connection'))]
    await expect.poll(() => connectionsOf(two), { timeout: 10_000 }).toBe(2)
    await expect.poll(() => connectionsOf(one), { timeout: 10_000 }).toBe(1)
  })
})

describe.skipIf(!userfaultfdOrSkipLoudly())('every byte comes', () => {
  it.each([
    ['all off', levelsAt('attach', 'tcp'), levelsAt('serve', 'tcp')],
    // On one connection the destination's own levels have nothing to do.
    ['all off but the connection', levelsAt('attach', 'tcp').filter((level) => level !== 'connection'), []],
  ])('with %s, and both ends say so', { timeout: 30_000 }, async (_, here, there) => {
    const { source, url } = await bench.serve('--synthetic', String(BYTES), ...without(...there))
    const run = await attach(url, '--json', '-', ...without(...here))
    const said = (levels: string[]) => (levels.length === 0 ? /MiB$/m : `without ${levels.join(',')}`)
    expect(source.stderr()).toMatch(said(there))
    expect(run.stderr()).toMatch(said(here))
    const client = bench.node(
      CLIENT,
      bench.path(`s${sockets}`),
      JSON.stringify({ bytes: BYTES, mode: 'rand' }),
    )
    expect(await client.ended).toBe(0)
    expect(await run.ended).toBe(0)
    const report = JSON.parse(run.stdout())
    expect(report).toMatchObject({ end: 'complete', without: here })
    expect(report.pages).toMatchObject({ total: BYTES / 4096, remaining: 0 })
    // Without promotion some pages are asked for twice; a second copy may come after the end.
    expect(report.bytes_received).toBeGreaterThanOrEqual(BYTES)
    expect(report.bytes_received).toBeLessThanOrEqual(BYTES + report.pages.hedged * 4096)
  })
})
