/** One daemon with several sockets: several clients at the same time, from one source or from several. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CROWD_SLICE_NS, DEMAND_SLICE_NS } from '../../src/config.ts'
import type { AttachReport } from '../../src/report/attach-report.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'
import { Bench } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname
const BYTES = 8 << 20
const PAGES = BYTES / 4096

describe('words that do not go together', () => {
  let bench: Bench
  beforeEach(() => {
    bench = new Bench()
  })
  afterEach(() => bench.close())

  it.each([
    [
      ['--socket', 'a', '--socket', 'a', '--source', 'tcp://127.0.0.1:1'],
      /--socket: got a, a, expected another socket/,
    ],
    [
      ['--socket', 'a', '--socket', 'b', '--socket', 'c', '--source', 'x', '--source', 'y'],
      /--source: got 2 sources for 3 sockets, expected one for all, or one for each/,
    ],
    [['--socket', 'a', '--source', 'x', '--source', 'y'], /--source: got 2 sources for 1 sockets/],
    [
      ['--socket', 'a', '--socket', 'b', '--source', 'x', '--json', 'one'],
      /--json: got 1 files for 2 sockets, expected one for each, or - for all/,
    ],
  ])('%j', async (words, reason) => {
    const run = bench.faultlane('attach', ...words)
    expect(await run.ended).toBe(2)
    expect(run.stderr()).toMatch(reason)
  })

  it('a second socket that is in use: the first one’s file does not stay', async () => {
    const { url } = await bench.serve('--synthetic', '8MiB')
    const other = bench.faultlane('attach', '--socket', bench.path('b'), '--source', url, '--keep')
    await other.says(/^ready/m)
    const sockets = ['--socket', bench.path('a'), '--socket', bench.path('b')]
    const run = bench.faultlane('attach', ...sockets, '--source', url)
    expect(await run.ended).toBe(1)
    expect(run.stderr()).toMatch(/b.*(in use|listens)/)
    expect(run.stderr()).not.toMatch(/^ready/m)
    expect(existsSync(bench.path('a'))).toBe(false)
    expect(existsSync(bench.path('b'))).toBe(true)
  })

  it('SIGTERM while they start: no socket stays', async () => {
    const { url } = await bench.serve('--synthetic', '8MiB')
    const names = ['a', 'b', 'c', 'd']
    const sockets = names.flatMap((name) => ['--socket', bench.path(name)])
    const run = bench.faultlane('attach', ...sockets, '--source', url, '--keep')
    while (!names.some((name) => existsSync(bench.path(name)))) await new Promise((go) => setTimeout(go, 1))
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(names.filter((name) => existsSync(bench.path(name)))).toEqual([])
  })

  it('SIGTERM ends all of them in order', async () => {
    const { url } = await bench.serve('--synthetic', '8MiB')
    const sockets = ['--socket', bench.path('a'), '--socket', bench.path('b')]
    const run = bench.faultlane('attach', ...sockets, '--source', url, '--keep')
    await run.says(/^ready .*b source/m)
    expect(run.stderr().match(/^ready /gm)).toHaveLength(2)
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(existsSync(bench.path('a')) || existsSync(bench.path('b'))).toBe(false)
  })
})

describe.skipIf(!userfaultfdOrSkipLoudly())('several clients of one daemon', () => {
  let bench: Bench
  beforeEach(() => {
    bench = new Bench()
  })
  afterEach(() => bench.close())

  const client = (socket: string, options: object = {}) =>
    bench.node(CLIENT, bench.path(socket), JSON.stringify({ bytes: BYTES, mode: 'rand', ...options }))
  const report = (name: string) => JSON.parse(readFileSync(bench.path(name), 'utf8')) as AttachReport
  async function attach(sources: string[], ...args: string[]) {
    const words = ['a', 'b'].flatMap((name) => [
      ...['--socket', bench.path(name)],
      ...['--json', bench.path(`${name}.json`)],
    ])
    const from = sources.flatMap((url) => ['--source', url])
    const run = bench.faultlane('attach', ...words, ...from, ...args)
    await run.says(/^ready .*b source/m)
    return run
  }

  it.each([['sequential'], ['off']])(
    'from one source, prefault %s: every byte right, figures of each, exit 0',
    async (prefault) => {
      const { url } = await bench.serve('--synthetic', '8MiB')
      const run = await attach([url], '--prefault', prefault)
      const clients = [client('a', { threads: 4 }), client('b', { threads: 1, mode: 'seq' })]
      for (const each of clients) expect(await each.ended).toBe(0)
      expect(await run.ended).toBe(0)
      for (const name of ['a', 'b']) {
        const { socket, pages, end } = report(`${name}.json`)
        expect(socket).toBe(bench.path(name))
        expect(end).toBe('complete')
        expect(pages.demanded + pages.prefaulted).toBe(PAGES)
        expect(pages.duplicate).toBe(0)
        expect(run.stderr()).toMatch(new RegExp(`^${bench.path(name)}: client ended \\(complete\\)`, 'm'))
      }
    },
  )

  it('from a source each: one that dies stops its own client only', async () => {
    const [one, other] = [await bench.serve('--synthetic', '8MiB'), await bench.serve('--synthetic', '16MiB')]
    const run = await attach([one.url, other.url], '--prefault', 'off')
    expect(run.stderr()).toMatch(new RegExp(`^ready ${bench.path('a')} source ${one.url} .* 8 MiB`, 'm'))
    expect(run.stderr()).toMatch(new RegExp(`^ready ${bench.path('b')} source ${other.url} .* 16 MiB`, 'm'))
    one.source.child.kill('SIGKILL')
    await one.source.ended
    const stuck = client('a', { threads: 1 })
    await run.says(new RegExp(`^${bench.path('a')}: source lost`, 'm'))
    const free = client('b', { threads: 4, bytes: 2 * BYTES })
    expect(await free.ended).toBe(0)
    await run.says(new RegExp(`^${bench.path('b')}: client ended \\(complete\\)`, 'm'))
    expect(run.stderr()).not.toMatch(new RegExp(`^${bench.path('b')}: source lost`, 'm'))
    stuck.child.kill('SIGKILL')
    await run.says(new RegExp(`^${bench.path('a')}: client ended \\(client-gone\\)`, 'm'))
    expect(await run.ended).toBe(0)
  })

  /** Lengths of the turns that the demand agents of a process take now. */
  function turnsOfDemand(pid: number | undefined): number[] {
    const turns: number[] = []
    try {
      for (const task of readdirSync(`/proc/${pid}/task`).sort()) {
        const said = (name: string) => readFileSync(`/proc/${pid}/task/${task}/${name}`, 'latin1')
        if (said('comm') === 'fl-demand\n') turns.push(Number(/se\.slice\D+(\d+)/.exec(said('sched'))?.[1]))
      }
    } catch {
      return [] // It ends.
    }
    return turns
  }
  /** Kernels before 6.12 have no turns of a length, and some do not say. */
  const isTold = /se\.slice/.test(
    existsSync('/proc/self/sched') ? readFileSync('/proc/self/sched', 'latin1') : '',
  )

  it.runIf(isTold).each([
    [[], [DEMAND_SLICE_NS, CROWD_SLICE_NS]],
    [['--without', 'neighbours'], [DEMAND_SLICE_NS]],
  ])('who answers a crowd takes longer turns than who answers one thread (%j)', async (flags, expected) => {
    const { url } = await bench.serve('--synthetic', '8MiB', '--link', '1Gbit/10ms')
    const run = await attach([url], '--prefault', 'off', ...flags)
    const seen = [new Set<number>(), new Set<number>()]
    const crowd = client('a', { threads: 32 })
    const one = client('b', { threads: 1, bytes: BYTES / 32 })
    await Promise.all(
      ['a', 'b'].map((name) => run.says(new RegExp(`^${bench.path(name)}: client \\d+:`, 'm'))),
    )
    let isOver = false
    void crowd.ended.then(() => {
      isOver = true
    })
    while (!isOver) {
      for (const [i, turns] of turnsOfDemand(run.child.pid).entries()) seen[i]?.add(turns)
      await delay(5)
    }
    expect(await one.ended).toBe(0)
    expect(
      [...seen].map((turns) => [...turns].sort((a, b) => a - b)).sort((a, b) => a.length - b.length),
    ).toEqual([[DEMAND_SLICE_NS], expected])
  })

  it('one that is killed leaves the other alone', async () => {
    const { url } = await bench.serve('--synthetic', '8MiB', '--link', '1Gbit/2ms')
    const run = await attach([url], '--prefault', 'off')
    const other = client('b', { threads: 2 }) // 2 s of round trips; the other, some 0.5 s.
    await run.says(new RegExp(`^${bench.path('b')}: client \\d+:`, 'm'))
    const killed = client('a', { threads: 8 })
    await run.says(new RegExp(`^${bench.path('a')}: client \\d+:`, 'm'))
    killed.child.kill('SIGKILL')
    await run.says(new RegExp(`^${bench.path('a')}: client ended \\(client-gone\\)`, 'm'))
    expect(await other.ended).toBe(0)
    expect(await run.ended).toBe(0)
    expect(report('b.json').pages.demanded).toBe(PAGES)
  })

  it('prefault of a client that does not fault heeds one that does, unless told not to', async () => {
    const { url } = await bench.serve('--synthetic', '32MiB', '--link', '1Gbit/100us')
    const pagesPerRead: number[] = []
    for (const isOn of [true, false]) {
      const run = await attach([url], ...(isOn ? [] : ['--without', 'neighbours']))
      const quiet = bench.faultlane(
        ...['bench', 'touch', '--demand', 'none', '--size', '32MiB', '--socket', bench.path('a'), '--hold'],
      )
      await quiet.says(/holding/)
      const faulting = client('b', { threads: 2, bytes: 4 * BYTES })
      await run.says(new RegExp(`^${bench.path('b')}: client \\d+:`, 'm'))
      quiet.child.kill('SIGUSR2')
      expect(await faulting.ended).toBe(0)
      expect(await run.ended).toBe(0)
      quiet.child.kill('SIGTERM')
      expect(await quiet.ended).toBe(0)
      const { pages, prefault } = report('a.json')
      expect(pages.prefaulted).toBe(4 * PAGES)
      pagesPerRead.push(pages.prefaulted / prefault.reads)
    }
    const [on, off] = pagesPerRead as [number, number]
    expect(on).toBeLessThan(off / 1.5)
  })
})
