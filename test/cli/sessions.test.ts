/** Whole sessions over real sockets and a real client process: losses, restarts, strangers in the source's place. */
import { openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { FRAME_MAGIC, LANE_CODE } from '../../src/transport/tcp/wire.ts'
import { hugePagesOrSkipLoudly, userfaultfdOrSkipLoudly } from '../need.ts'
import { FAKE_PAGES, FakeSource, type FakeSourceOptions, frame, PAGE_OF_BB } from './fake-source.ts'
import { Bench, type Running } from './harness.ts'

const CLIENT = new URL('./client.mjs', import.meta.url).pathname
const PAGE = 4096
const BYTES = 8 << 20
/** What takes milliseconds has hung by then, on however busy a machine. */
const HANG_MS = 10_000

describe.skipIf(!userfaultfdOrSkipLoudly())('sessions', () => {
  let bench: Bench
  beforeEach(() => {
    bench = new Bench()
  })
  afterEach(() => bench.close())

  function writeImage(bytes = BYTES): string {
    const words = new Uint32Array(bytes / 4)
    for (let page = 0; page < bytes / PAGE; page++) fillSyntheticPage(words, page * 1024, page)
    writeFileSync(bench.path('image'), words)
    return bench.path('image')
  }
  async function attach(url: string, ...args: string[]): Promise<Running> {
    const run = bench.faultlane(
      'attach',
      '--socket',
      bench.path('s'),
      '--source',
      url,
      '--wait',
      'block',
      ...args,
    )
    await run.says(/^ready/m)
    return run
  }
  const client = (options: object = {}) =>
    bench.node(CLIENT, bench.path('s'), JSON.stringify({ bytes: BYTES, mode: 'rand', ...options }))
  const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
    const late = settle(ms).then(() => Promise.reject(new Error(`not within ${ms} ms`)))
    return (await Promise.race([promise, late])) as T
  }
  const result = (run: Running) => JSON.parse(run.stdout().trim().split('\n').at(-1) as string)

  describe('a source that answers nonsense', () => {
    const read = { workId: 0, firstPage: 0, pageCount: 1 }
    const answers: [string, (request: typeof read) => Buffer[], RegExp][] = [
      ['to an unknown work', (r) => [frame(r.workId + 77, r.firstPage, 1), PAGE_OF_BB], /a reply to work 77/],
      [
        'with another page',
        (r) => [frame(r.workId, r.firstPage + 1, 1), PAGE_OF_BB],
        /pages 1\+1, expected pages of the read at 0\+1/,
      ],
      ['with too many pages', (r) => [frame(r.workId, r.firstPage, 9)], /pages 0\+9/],
      ['with no page', (r) => [frame(r.workId, r.firstPage, 0)], /pages 0\+0/],
      [
        'of an unknown kind',
        (r) => [frame(r.workId, r.firstPage, 1, FRAME_MAGIC | 7)],
        /ending in 0x464c4e07/,
      ],
      [
        'in another protocol',
        () => [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
        /a reply frame ending in/,
      ],
      [
        'and breaks off in the page',
        (r) => [frame(r.workId, r.firstPage, 1), PAGE_OF_BB.subarray(0, 1000)],
        /closed the connection/,
      ],
    ]
    it.each(answers)(
      '%s: nothing is placed, the toucher waits, and nobody storms',
      async (_, answer, reason) => {
        const onRequest: FakeSourceOptions['onRequest'] = (socket, request, lane) => {
          if (lane !== LANE_CODE.demand) return
          for (const bytes of answer(request)) socket.write(bytes)
          socket.end()
        }
        const fake = new FakeSource({ onRequest })
        const run = await attach(await fake.listen(), '--prefault', 'off')
        const toucher = client({ bytes: FAKE_PAGES * PAGE, threads: 1, mode: 'seq' })
        await run.says(reason)
        await settle(400)
        expect(fake.lanes).toBeLessThan(12)
        expect(toucher.stdout()).toMatch(/^up \d+\n$/) // Up, and not a page further.
        expect(run.child.exitCode).toBe(null)
        run.child.kill('SIGTERM')
        expect(await within(HANG_MS, run.ended)).toBe(0)
        await fake.close()
      },
    )
  })

  it.each([
    ['demand alone', ['--prefault', 'off']],
    ['both lanes', []],
    ['both lanes on one connection', ['--without', 'connection']],
  ])('waits for a killed source, and brings every byte right when it is back: %s', async (_, flags) => {
    // Behind a slow link, or all of it is here before the source is killed.
    const { source, url } = await bench.serve('--image', writeImage(), '--link', '100Mbit/1ms')
    const run = await attach(url, ...flags)
    const toucher = client({ threads: 3 })
    await run.says(/client/)
    await settle(30)
    source.child.kill('SIGKILL')
    await run.says(/source lost: .*; policy: touchers wait for it/)
    await settle(300)
    expect(toucher.stdout()).toMatch(/^up \d+\n$/)
    await bench.serve('--image', bench.path('image'), '--listen', url)
    await run.says(/source is back/)
    expect(await toucher.ended).toBe(0)
    expect(result(toucher)).toMatchObject({ touched: BYTES / PAGE, wrong: 0 })
    expect(await run.ended).toBe(0)
  })

  it('takes no other image for the one that was lost, and says so', async () => {
    const { source, url } = await bench.serve('--image', writeImage())
    const run = await attach(url, '--prefault', 'off')
    const toucher = client()
    await run.says(/client/)
    source.child.kill('SIGKILL')
    await run.says(/source lost/)
    const other = await bench.serve('--synthetic', '8MiB', '--listen', url)
    await run.says(/image of the source that came back: got \w+, expected \w+/)
    await settle(200)
    expect(toucher.child.exitCode).toBe(null)
    expect(run.stderr().match(/that came back/g)).toHaveLength(1)
    other.source.child.kill('SIGKILL')
    await other.source.ended
    await bench.serve('--image', bench.path('image'), '--listen', url)
    expect(await toucher.ended).toBe(0)
    expect(result(toucher)).toMatchObject({ touched: BYTES / PAGE, wrong: 0 })
  })

  it('kills the client of a lost source where that is the policy, and exits 1', async () => {
    const { source, url } = await bench.serve('--image', writeImage())
    const run = await attach(url, '--prefault', 'off', '--on-loss', 'kill')
    const toucher = client({ threads: 1 })
    await run.says(/client/)
    source.child.kill('SIGKILL')
    expect(await within(HANG_MS, toucher.ended)).toBe('SIGKILL')
    expect(await within(HANG_MS, run.ended)).toBe(1)
    expect(run.stderr()).toMatch(/policy: the client is killed[\s\S]*client ended \(source-lost\)/)
  })

  it('serves five clients in a row with --keep, one of them killed, and notices that at once', async () => {
    const { url } = await bench.serve('--image', writeImage())
    const run = await attach(url, '--keep', '--json', '-')
    for (let turn = 0; turn < 5; turn++) {
      const toucher = client({ seed: turn, regions: [3, 9, 2, 1, 5][turn] })
      if (turn === 2) {
        await run.says(/(client \d+: 2048[\s\S]*){3}/)
        toucher.child.kill('SIGKILL')
        await toucher.ended
        await within(HANG_MS, run.says(/(client ended[\s\S]*){3}/))
        continue
      }
      expect(await toucher.ended).toBe(0)
      expect(result(toucher)).toMatchObject({ touched: BYTES / PAGE, wrong: 0 })
      await run.says(new RegExp(`(client ended[\\s\\S]*){${turn + 1}}`))
    }
    run.child.kill('SIGTERM')
    expect(await within(HANG_MS, run.ended)).toBe(0)
    const reports = run
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(reports).toHaveLength(5)
    for (const { end, pages, bytes_received } of reports) {
      if (end !== 'complete') continue
      expect(pages).toMatchObject({ total: 2048, duplicate: 0, remaining: 0 })
      expect(pages.demanded + pages.prefaulted).toBe(2048)
      expect(bytes_received).toBe(BYTES)
    }
    expect(reports.filter(({ end }) => end === 'complete').length).toBeGreaterThanOrEqual(4)
    expect(readdirSync(bench.folder)).toEqual(['image'])
  })

  it('takes 300 regions', async () => {
    const { url } = await bench.serve('--image', writeImage())
    const run = await attach(url)
    const toucher = client({ regions: 300, threads: 8 })
    expect(await toucher.ended).toBe(0)
    expect(result(toucher)).toMatchObject({ touched: BYTES / PAGE, wrong: 0 })
    expect(await run.ended).toBe(0)
    expect(run.stderr()).toMatch(/2048 pages in 300 regions/)
  })

  it.each([0, 0.3])(
    'gives a removed page zeros or what was written since, never the snapshot, while both lanes run; pauses of %d ms',
    async (thinkMs) => {
      const { url } = await bench.serve('--synthetic', '64MiB')
      const run = await attach(url, '--json', '-')
      const toucher = client({ bytes: 64 << 20, threads: 4, mode: 'balloon', seconds: 3, thinkMs })
      expect(await toucher.ended).toBe(0)
      const seen = result(toucher)
      expect(seen).toMatchObject({ wrong: 0, firstWrong: '' })
      expect(seen.discarded).toBeGreaterThan(100)
      expect(await run.ended).toBe(0)
      const report = JSON.parse(run.stdout())
      expect(report.pages.removed).toBeGreaterThan(0)
      expect(report.removed_raced).toBe(0)
    },
  )

  it.skipIf(!hugePagesOrSkipLoudly(8))('takes 2 MiB pages of hugetlb', async () => {
    const { url } = await bench.serve('--image', writeImage(16 << 20))
    const run = await attach(url, '--page-size', '2MiB')
    const toucher = client({ bytes: 16 << 20, hugePages: true })
    expect(await toucher.ended).toBe(0)
    expect(result(toucher)).toMatchObject({ touched: 8, wrong: 0 })
    expect(await run.ended).toBe(0)
  })

  it('refuses a client of another page size with the flag to use', async () => {
    const { url } = await bench.serve('--image', writeImage())
    const run = await attach(url, '--page-size', '2MiB', '--prefault', 'off')
    client()
    await run.says(
      /refused a client: the client's page size: got 4096 bytes, expected 2097152 bytes .*--page-size 4096/,
    )
  })

  describe('SIGTERM', () => {
    it.each([
      ['once', 1],
      ['three times', 3],
    ])('%s ends an idle attach and its source in time', async (_, times) => {
      const { source, url } = await bench.serve('--image', writeImage())
      const run = await attach(url)
      for (const { child, ended } of [run, source]) {
        for (let n = 0; n < times; n++) child.kill('SIGTERM')
        expect(await within(HANG_MS, ended)).toBe(0)
      }
      expect(readdirSync(bench.folder)).toEqual(['image'])
    })

    it('is an end with code 0 also where it goes on until there is nobody left', async () => {
      const { source } = await bench.serve('--image', writeImage())
      const again = setInterval(() => source.child.kill('SIGTERM'), 3)
      try {
        expect(await within(HANG_MS, source.ended)).toBe(0)
      } finally {
        clearInterval(again)
      }
    })

    it('ends an attach whose client hangs on a page that never comes', async () => {
      const fake = new FakeSource()
      const run = await attach(await fake.listen())
      const toucher = client({ bytes: FAKE_PAGES * PAGE, threads: 1 })
      await run.says(/client/)
      await settle(100)
      run.child.kill('SIGTERM')
      expect(await within(HANG_MS, run.ended)).toBe(0)
      expect(run.stderr()).toMatch(/client ended \(stopped\)/)
      expect(toucher.stdout()).toMatch(/^up \d+\n$/)
      await fake.close()
    })

    it('ends an attach whose client has stopped in the middle of its handshake', async () => {
      const { url } = await bench.serve('--image', writeImage())
      const run = await attach(url)
      client({ pieces: 2, pauseMs: 1500 })
      await settle(300)
      run.child.kill('SIGTERM')
      expect(await within(HANG_MS, run.ended)).toBe(0)
    })

    it('ends an attach that looks for its lost source, and a source whose destination has stopped reading', async () => {
      const { source, url } = await bench.serve('--image', writeImage())
      const run = await attach(url)
      client({ threads: 1 })
      await run.says(/client/)
      run.child.kill('SIGSTOP')
      source.child.kill('SIGTERM')
      expect(await within(HANG_MS, source.ended)).toBe(0)
      run.child.kill('SIGCONT')
      if (run.child.exitCode === null) {
        await settle(150)
        run.child.kill('SIGTERM')
        expect(await within(HANG_MS, run.ended)).toBe(0)
      }
    })
  })

  describe('--json on a full disk', () => {
    it.each(['/dev/full', '-', '/proc/no/such/folder/x.json'])(
      '%s: says the figures, exits 1',
      async (target) => {
        const { url } = await bench.serve('--image', writeImage())
        const full = openSync('/dev/full', 'w')
        const args = ['attach', '--socket', bench.path('s'), '--source', url, '--json', target]
        const run = bench.faultlaneTo(full, ...args)
        await run.says(/^ready/m)
        expect(await client().ended).toBe(0)
        expect(await run.ended).toBe(1)
        expect(run.stderr()).toMatch(
          /--json \S+: cannot be written \((ENOSPC|ENOENT)\); the figures are: \{"end":"complete"/,
        )
        expect(statSync('/dev/full').isCharacterDevice()).toBe(true)
      },
    )

    it('writes a whole file', async () => {
      const { url } = await bench.serve('--image', writeImage())
      const run = await attach(url, '--json', bench.path('out.json'))
      expect(await client().ended).toBe(0)
      expect(await run.ended).toBe(0)
      const report = JSON.parse(readFileSync(bench.path('out.json'), 'utf8'))
      expect(report.pages.total).toBe(2048)
      // Every fault that met its page in flight is timed, and apart.
      expect(report.promoted_us.count).toBe(report.promoted)
      expect(report.demand_us.count).toBe(report.promoted + report.pages.demanded)
    })
  })
})
