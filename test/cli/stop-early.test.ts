import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CONNECT_TIMEOUT_MS } from '../../src/config.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { FRAME_MAGIC, LANE_CODE } from '../../src/transport/tcp/wire.ts'
import { COMPLETION } from '../../src/transport/transport.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'
import { FAKE_PAGES, FakeSource, frame } from './fake-source.ts'
import { Bench } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

it('attach told to stop ends at once while the source has not said what it has, and leaves nothing', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const asked = once(silent, 'connection')
  const url = `tcp://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const attach = bench.faultlane('attach', '--socket', bench.path('vm.sock'), '--source', url)
  const [socket] = await asked
  attach.child.kill('SIGTERM')
  // Had it waited for the source, it would have ended with 1 and said that no welcome came in time.
  expect(await attach.ended).toBe('SIGTERM')
  expect(attach.stderr()).toBe('')
  expect(existsSync(bench.path('vm.sock'))).toBe(false)
  socket.destroy()
  silent.close()
})

it('attach ends with 1 and leaves nothing where prefault cannot be opened at all', async () => {
  const { url } = await bench.serve('--synthetic', '1MiB')
  const dist = new URL('../../dist', import.meta.url).href
  const module = bench.path('transport.mjs')
  writeFileSync(
    module,
    `import { FaultlaneError } from '${dist}/index.js'
    import { transport as tcp } from '${dist}/transport/tcp/index.js'
    const open = (url, lane, options) => {
      const failure = { code: 'BAD_ARGUMENT', what: 'lane', got: lane, expected: 'demand' }
      if (lane === 'prefault') throw new FaultlaneError(failure)
      return tcp.open(url, lane, options)
    }
    export const transport = { ...tcp, schemes: ['tcp'], open }`,
  )
  const socket = bench.path('vm.sock')
  const run = bench.faultlane('attach', '--socket', socket, '--source', url, '--transport', module)
  expect(await run.ended).toBe(1)
  expect(run.stderr()).toMatch(/faultlane: .*lane.*prefault/)
  expect(existsSync(socket)).toBe(false)
})

/** Prefault opens its channel when clients may already come: what it waits for there holds nobody up. */
describe.skipIf(!userfaultfdOrSkipLoudly())('while the source does not answer the prefault lane', () => {
  let source: FakeSource
  const attach = async () => {
    source = new FakeSource({
      silentLane: LANE_CODE.prefault,
      onRequest: (socket, { workId, firstPage, pageCount }) => {
        socket.write(frame(workId, firstPage, pageCount, FRAME_MAGIC | COMPLETION.CONTENT))
        for (let page = firstPage; page < firstPage + pageCount; page++) {
          const words = new Uint32Array(1024)
          fillSyntheticPage(words, 0, page)
          socket.write(Buffer.from(words.buffer))
        }
      },
    })
    const url = await source.listen()
    const run = bench.faultlane('attach', '--socket', bench.path('vm.sock'), '--source', url)
    await run.says(/^ready/m)
    await expect.poll(() => source.lanes, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
    return run
  }
  afterEach(() => source.close())

  it('attach told to stop ends in order', async () => {
    const run = await attach()
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(run.stderr()).not.toMatch(/did not stop/)
    expect(existsSync(bench.path('vm.sock'))).toBe(false)
  })

  it('a client whose pages demand has brought is complete, and let go of, before the source is given up', async () => {
    const run = await attach()
    const settings = { bytes: FAKE_PAGES * 4096, threads: 1 }
    const client = bench.node(CLIENT, bench.path('vm.sock'), JSON.stringify(settings))
    expect(await client.ended).toBe(0)
    const givenUp = setTimeout(() => run.child.kill('SIGKILL'), CONNECT_TIMEOUT_MS - 1000)
    expect(await run.ended).toBe(0)
    clearTimeout(givenUp)
    expect(run.stderr()).toMatch(/client ended \(complete\): 16 demanded, 0 prefaulted/)
  })
})

/** Each dial ends at its time limit, and these grow: both lanes stand in one when the stop comes. */
it.skipIf(!userfaultfdOrSkipLoudly())(
  'attach told to stop ends in order while somebody silent has taken the source’s place',
  async () => {
    const source = new FakeSource()
    const url = await source.listen()
    const run = bench.faultlane('attach', '--socket', bench.path('vm.sock'), '--source', url)
    await run.says(/^ready/m)
    const client = bench.node(
      CLIENT,
      bench.path('vm.sock'),
      JSON.stringify({ bytes: FAKE_PAGES * 4096, threads: 1 }),
    )
    await expect.poll(() => source.lanes, { timeout: 10_000 }).toBe(2)
    await source.close()
    const silent = createServer().listen(Number(new URL(url).port), '127.0.0.1')
    await once(silent, 'listening')
    let dials = 0
    silent.on('connection', (socket) => {
      dials++
      socket.on('error', () => {})
    })
    await expect.poll(() => dials, { timeout: 10_000 }).toBeGreaterThanOrEqual(8)
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(0)
    expect(run.stderr()).not.toMatch(/did not stop/)
    expect(existsSync(bench.path('vm.sock'))).toBe(false)
    client.child.kill('SIGKILL')
    silent.close()
  },
)
