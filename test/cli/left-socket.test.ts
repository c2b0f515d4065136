/** Destinations killed while they wait for a client: what their handshake socket leaves behind, by the built command line. */
import { existsSync, readdirSync } from 'node:fs'
import { setTimeout as settle } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Bench, type Running } from './harness.ts'

const HANG_MS = 20_000

describe('the handshake socket of a killed destination', () => {
  let bench: Bench
  let socket: string
  beforeEach(() => {
    bench = new Bench()
    socket = bench.path('client')
  })
  afterEach(() => bench.close())

  const serve = (scheme: string) =>
    bench.serve(
      '--synthetic',
      '4MiB',
      '--listen',
      scheme === 'tcp' ? 'tcp://127.0.0.1:0' : `${scheme}:${bench.path('source')}`,
    )

  async function attach(url: string, ...args: string[]): Promise<Running> {
    const run = bench.faultlane('attach', '--socket', socket, '--source', url, ...args)
    await run.says(/^ready/m)
    return run
  }

  async function kill(run: Running): Promise<void> {
    run.child.kill('SIGKILL')
    expect(await run.ended).toBe('SIGKILL')
  }

  /** The socket, and the name that it is moved to for the moment before it is removed. */
  async function untilGone(): Promise<void> {
    const names = () => readdirSync(bench.folder).filter((name) => name.startsWith('client'))
    for (const lateMs = performance.now() + HANG_MS; names().length > 0; await settle(1)) {
      if (performance.now() > lateMs) throw new Error(`${names().join()} is still there`)
    }
  }

  it.each(['shm', 'rdma-sim'])('%s: is removed by the source, time and again', async (scheme) => {
    const { source, url } = await serve(scheme)
    const dialled = scheme === 'shm' ? url : `${url}?dilation=1`
    for (const args of [['--keep'], [], ['--prefault', 'off'], ['--scheduling', 'S0']]) {
      const run = await attach(dialled, ...args)
      expect(existsSync(socket)).toBe(true)
      await kill(run)
      await untilGone()
    }
    expect(source.stderr()).not.toMatch(/refused/)
    expect(readdirSync(bench.folder)).toEqual(['source'])
  })

  it('is told to a source that has taken the lost one’s place', async () => {
    const { source, url } = await serve('shm')
    const run = await attach(url)
    await kill(source)
    await run.says(/^source lost/m)
    await serve('shm')
    await run.says(/^source is back/m)
    await kill(run)
    await untilGone()
  })

  it('outlives its source while its destination lives, and goes with it in order', async () => {
    const { source, url } = await serve('shm')
    const run = await attach(url, '--keep')
    source.child.kill('SIGTERM')
    expect(await source.ended).toBe(0)
    await run.says(/^source lost/m)
    expect(existsSync(socket)).toBe(true)
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(run.stderr()).not.toMatch(/refused/)
    expect(readdirSync(bench.folder)).toEqual([])
  })

  it('stays over TCP, where the source may be on another host, for the next one to replace', async () => {
    const { url } = await serve('tcp')
    await kill(await attach(url))
    expect(existsSync(socket)).toBe(true)
    const run = await attach(url)
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(existsSync(socket)).toBe(false)
  })
})
