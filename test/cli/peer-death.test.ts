/**
 * SIGKILL of either side in every phase, over every transport, with the built command line: the other side notices, no
 * byte is ever wrong, and nothing is left in shared memory or the file system.
 *
 * `npm run test:deaths` does every cell of the matrix 20 times; here one phase in three comes once, which, the seed
 * says. How long the slowest took to notice is printed; only a hang fails, since a busy machine is no defect.
 */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'
import { Bench, type Running } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname
const ROUNDS = Number(process.env.DEATHS ?? 1)
/** Every how many cells one is done. */
const STRIDE = process.env.DEATHS === undefined ? 3 : 1
/** Large enough for a pull to be in progress for tens of milliseconds. */
const IMAGE_BYTES = 64 << 20
const CLIENT_BYTES = { greeting: 0, idle: 0, demand: 16 << 20, pull: IMAGE_BYTES, closing: 16 << 20 } as const
const HANG_MS = 20_000
type Phase = keyof typeof CLIENT_BYTES
type Served = Awaited<ReturnType<Bench['serve']>>
const PHASES = Object.keys(CLIENT_BYTES) as Phase[]
const VICTIMS = ['source', 'destination'] as const
const SCHEMES = ['tcp', 'shm', 'rdma-sim'] as const

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
let random = seed
function chance(below: number): number {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0
  return Math.floor((random / 2 ** 32) * below)
}
const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** What each descriptor of a process is; empty once it has gone. */
function descriptors(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
      } catch {
        return [] // Closed meanwhile.
      }
    })
  } catch {
    return []
  }
}
const socketsOf = (run: Running) =>
  descriptors(run.child.pid as number).filter((what) => what.startsWith('socket:')).length

/** What is left of a bench on this machine: its processes, shared memory with names of ours, its files. */
function leftOf(bench: Bench): string[] {
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(bench.folder)
    } catch {
      return false // Gone meanwhile.
    }
  })
  // A memfd lives as long as somebody holds it: with the processes it has gone, but for those that we hold.
  const memory = descriptors(process.pid).filter((what) => what.startsWith('/memfd:faultlane'))
  const named = readdirSync('/dev/shm').filter((name) => name.includes('faultlane'))
  return [...processes, ...memory, ...named, ...readdirSync(bench.folder)]
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const lateMs = performance.now() + HANG_MS; !holds(); await settle(1)) {
    if (performance.now() > lateMs) throw new Error(`${what}: not within ${HANG_MS} ms`)
  }
}

/** Listeners at a path and connections to them, accepted or not. */
function unixSockets(path: string): number {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(` ${path}`)).length
}

async function endOf(run: Running, what: string): Promise<number | string> {
  const late = settle(HANG_MS).then(() => `${what} has not ended in ${HANG_MS} ms: ${run.stderr()}`)
  return await Promise.race([run.ended, late])
}

describe.skipIf(!userfaultfdOrSkipLoudly())(`either side killed, seed ${seed}`, () => {
  let bench: Bench
  let folder: string
  let image: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'faultlane-deaths-'))
    image = join(folder, 'image')
    const words = new Uint32Array(IMAGE_BYTES / 4)
    for (let page = 0; page < IMAGE_BYTES / 4096; page++) fillSyntheticPage(words, page * 1024, page)
    writeFileSync(image, words)
  })
  afterAll(() => rmSync(folder, { recursive: true }))
  beforeEach(() => {
    bench = new Bench()
  })
  afterEach(() => bench.close())

  function listen(scheme: string): string {
    return scheme === 'tcp' ? 'tcp://127.0.0.1:0' : `${scheme}:${bench.path('source')}`
  }

  /** A destination in its phase, with what it says of its client, if it has one. */
  async function inPhase(
    phase: Phase,
    url: string,
  ): Promise<{ attach: Running; client: Running | undefined }> {
    const prefault = phase === 'pull' ? 'sequential' : 'off'
    // Settings of an address are no part of the path that is cleared away.
    const dialled = url.startsWith('rdma-sim:') ? `${url}?dilation=1` : url
    const args = ['--socket', bench.path('client'), '--source', dialled, '--prefault', prefault]
    const attach = bench.faultlane('attach', ...args)
    if (phase === 'greeting') {
      // The source stands still: the destination has connected, or over TCP will, and waits for its welcome.
      await settle(300 + chance(200))
      const path = bench.path('source')
      if (!url.startsWith('tcp:')) await until('the destination connects', () => unixSockets(path) > 1)
      return { attach, client: undefined }
    }
    await attach.says(/^ready/m)
    const bytes = CLIENT_BYTES[phase]
    if (bytes === 0) return { attach, client: undefined }
    const options = { bytes, mode: 'rand', threads: 2, seed: chance(1000) }
    const client = bench.node(CLIENT, bench.path('client'), JSON.stringify(options))
    await attach.says(/^client \d+:/m)
    await settle(chance(phase === 'pull' ? 60 : 150))
    return { attach, client }
  }

  /** Returns how long the destination took to notice, and the source that has taken the victim's place. */
  async function killSource({ source, url }: Served, phase: Phase, what: string): Promise<[number, Served]> {
    if (phase === 'greeting') source.child.kill('SIGSTOP')
    const { attach, client } = await inPhase(phase, url)
    // Who had everything before it looked again has lost nothing: a pull over shm takes 40 ms, with the source or without.
    const isOver = () => /^client ended/m.test(attach.stderr())
    if (phase === 'closing') {
      source.child.kill('SIGTERM')
      await settle(chance(8))
    }
    source.child.kill('SIGKILL')
    const killedAtMs = performance.now()
    await source.ended
    const said = /^source lost|^faultlane: /m
    await until(`${what}: the destination says so`, () => isOver() || said.test(attach.stderr()))
    const noticedMs = performance.now() - killedAtMs
    await until(`${what}: no socket is left`, () => isOver() || !existsSync(bench.path('source')))
    if (phase === 'greeting') expect([what, await endOf(attach, what)]).toEqual([what, 1])
    // The same image comes back: whoever waited goes on, and every byte is right.
    const again = await bench.serve('--image', image, '--listen', url)
    if (phase === 'greeting') return [noticedMs, again]
    if (client) {
      expect([what, await endOf(client, what)]).toEqual([what, 0])
    } else {
      await attach.says(/^source is back/m)
      attach.child.kill('SIGTERM')
    }
    expect([what, await endOf(attach, what)]).toEqual([what, 0])
    return [noticedMs, again]
  }

  /** Returns how long the source took to notice, and to clear away what was left; it goes on serving. */
  async function killDestination(served: Served, phase: Phase, what: string): Promise<[number, Served]> {
    const { source, url } = served
    const alone = socketsOf(source)
    if (phase === 'greeting') source.child.kill('SIGSTOP')
    const { attach, client } = await inPhase(phase, url)
    if (phase === 'closing') {
      attach.child.kill('SIGTERM')
      await settle(chance(8))
    }
    attach.child.kill('SIGKILL')
    let killedAtMs = performance.now()
    await attach.ended
    if (phase === 'greeting') {
      source.child.kill('SIGCONT')
      killedAtMs = performance.now()
      await settle(5) // It may not have accepted whom it is to notice.
    }
    await until(`${what}: the source lets its sockets go`, () => socketsOf(source) === alone)
    // Over TCP the source may be on another host: whoever listens there next replaces the file.
    if (client || !url.startsWith('tcp:'))
      await until(`${what}: no handshake socket is left`, () => !existsSync(bench.path('client')))
    const noticedMs = performance.now() - killedAtMs
    if (client) {
      client.child.kill('SIGKILL')
      await client.ended
      expect([what, /"wrong":[1-9]/.test(client.stdout())]).toEqual([what, false])
    }
    return [noticedMs, served]
  }

  const cells = SCHEMES.flatMap((scheme) =>
    VICTIMS.flatMap((victim) => PHASES.map((phase) => [scheme, victim, phase] as const)),
  ).filter((_, index) => (index + seed) % STRIDE === 0)
  it.each(cells)('%s, the %s in phase %s', { timeout: 600_000 }, async (scheme, victim, phase) => {
    let served: Served = await bench.serve('--image', image, '--listen', listen(scheme))
    let slowestMs = 0
    for (let round = 0; round < ROUNDS; round++) {
      const what = `seed ${seed}: ${scheme}, ${victim} killed in phase ${phase}, round ${round}`
      const kill = victim === 'source' ? killSource : killDestination
      const [noticedMs, left] = await kill(served, phase, what)
      slowestMs = Math.max(slowestMs, noticedMs)
      served = left
    }
    const what = `seed ${seed}: ${scheme}, after the deaths`
    if (victim === 'destination') {
      // The source serves the next one.
      const { attach, client } = await inPhase('demand', served.url)
      expect([what, await endOf(client as Running, what)]).toEqual([what, 0])
      expect([what, await endOf(attach, what)]).toEqual([what, 0])
    }
    served.source.child.kill('SIGTERM')
    expect([what, await endOf(served.source, what)]).toEqual([what, 0])
    process.stderr.write(
      `${scheme}, ${victim} killed × ${ROUNDS} in phase ${phase}: noticed within ${slowestMs.toFixed(0)} ms\n`,
    )
    expect(leftOf(bench)).toEqual([])
  })
})
