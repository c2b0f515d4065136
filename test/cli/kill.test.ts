/** Kills each part at random moments: never a wrong byte, never a hang, and nothing is left behind. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'
import { Bench, type Running } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname
/** Six are every victim with either signal; `npm run test:deaths` strikes 20 times. */
const ROUNDS = Number(process.env.DEATHS ?? 6)
const BYTES = 32 << 20
/** From the client's start to the blow: before its handshake, in the thick of it, after the end. */
const BLOW_MS_MAX = 500
/** A round takes about a second; whoever takes so long hangs. */
const HANG_MS = 20_000
const VICTIMS = ['source', 'client', 'attach'] as const
const SIGNALS = ['SIGKILL', 'SIGTERM'] as const

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
let random = seed
function chance(below: number): number {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0
  return Math.floor((random / 2 ** 32) * below)
}
const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe.skipIf(!userfaultfdOrSkipLoudly())('blows at random moments', () => {
  let bench: Bench
  beforeEach(() => {
    bench = new Bench()
    const words = new Uint32Array(BYTES / 4)
    for (let page = 0; page < BYTES / 4096; page++) fillSyntheticPage(words, page * 1024, page)
    writeFileSync(bench.path('image'), words)
  })
  afterEach(() => bench.close())

  /** What our processes could leave behind on this machine; other tests run beside this one. */
  function traces(): Record<string, string[]> {
    const ours = (name: string) => name.includes('faultlane') && !name.includes('faultlane-lazy-')
    const sockets = readFileSync('/proc/net/unix', 'utf8').split('\n')
    return {
      sharedMemory: readdirSync('/dev/shm').filter(ours),
      sockets: sockets.filter((line) => line.includes(bench.folder)),
      processes: readdirSync('/proc').filter((pid) => {
        try {
          return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(bench.folder)
        } catch {
          return false // Gone meanwhile.
        }
      }),
    }
  }

  async function within(ms: number, run: Running, what: string): Promise<number | string> {
    const late = settle(ms).then(() => {
      throw new Error(`seed ${seed}: ${what} has not ended in ${ms} ms: ${run.stderr()}`)
    })
    return await Promise.race([run.ended, late])
  }

  it(`${ROUNDS} rounds, seed ${seed}`, async () => {
    process.stderr.write(`kill test: SEED=${seed}\n`)
    let { source, url } = await bench.serve('--image', bench.path('image'))
    let slowestMs = 0
    for (let round = 0; round < ROUNDS; round++) {
      const victim = VICTIMS[round % 3] as (typeof VICTIMS)[number]
      const signal = SIGNALS[Math.floor(round / 3) % 2] as (typeof SIGNALS)[number]
      const what = `seed ${seed}, round ${round}: ${signal} to the ${victim}`
      const prefault = chance(2) === 0 ? 'off' : 'sequential'
      const run = bench.faultlane(
        'attach',
        '--socket',
        bench.path('s'),
        '--source',
        url,
        '--prefault',
        prefault,
      )
      await run.says(/^ready/m)
      const options = { bytes: BYTES, mode: 'rand', threads: 3, regions: 1 + chance(9), seed: round }
      const client = bench.node(CLIENT, bench.path('s'), JSON.stringify(options))
      await settle(chance(BLOW_MS_MAX))
      const blown = { source, client, attach: run }[victim]
      const wasOver = blown.child.exitCode !== null
      blown.child.kill(signal)
      const blownAtMs = performance.now()
      const code = await within(HANG_MS, blown, what)
      if (signal === 'SIGTERM') slowestMs = Math.max(slowestMs, performance.now() - blownAtMs)
      // An orderly end, or the process has killed itself after 900 ms; a client of ours knows no orderly end.
      if (!wasOver && victim !== 'client')
        expect([what, code]).toEqual([what, signal === 'SIGTERM' ? 0 : signal])

      if (victim === 'source') {
        ;({ source, url } = await bench.serve('--image', bench.path('image'), '--listen', url))
        expect([what, await within(HANG_MS, client, what)]).toEqual([what, 0])
        expect([what, await within(HANG_MS, run, what)]).toEqual([what, 0])
      } else if (victim === 'client') {
        // Killed before its handshake, it was nobody's client.
        if (run.child.exitCode === null && !/^client \d+:/m.test(run.stderr())) {
          await settle(100)
          run.child.kill('SIGTERM')
        }
        expect([what, await within(HANG_MS, run, what)]).toEqual([what, 0])
      } else {
        await settle(50)
        if (client.child.exitCode === null) client.child.kill('SIGKILL')
        await within(HANG_MS, client, what)
      }
      expect([what, /"wrong":[1-9]/.test(client.stdout())]).toEqual([what, false])
      const left = readdirSync(bench.folder).filter((name) => name !== 'image')
      // Nobody can clean up after SIGKILL; the next attach replaces that socket.
      if (victim !== 'attach' || signal !== 'SIGKILL') expect([what, left]).toEqual([what, []])
    }
    source.child.kill('SIGTERM')
    expect(await within(HANG_MS, source, 'the source')).toBe(0)
    process.stderr.write(`kill test: slowest end after SIGTERM ${slowestMs.toFixed(0)} ms\n`)
    expect(traces()).toEqual({ sharedMemory: [], sockets: [], processes: [] })
  }, 240_000)
})
