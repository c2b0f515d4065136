/** What a user or a stranger can get wrong before a client is there: said in one line, with the exit code. */
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  FRAME_MAGIC,
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
  WIRE_VERSION,
} from '../../src/transport/tcp/wire.ts'
import { FakeSource, type FakeSourceOptions, frame } from './fake-source.ts'
import { Bench } from './harness.ts'

const VERSION = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

function image(pages = 4): string {
  const path = bench.path('image')
  writeFileSync(path, Buffer.alloc(pages * 4096, 0xaa))
  return path
}
async function refusal(args: string[]): Promise<[number | string, string]> {
  const run = bench.faultlane(...args)
  return [await run.ended, run.stderr()]
}

describe('usage, exit 2', () => {
  it.each([
    ['serve', [], /exactly one of --image FILE and --synthetic SIZE/],
    ['serve', ['--image', 'x', '--synthetic', '1MiB'], /exactly one of --image FILE and --synthetic SIZE/],
    ['serve', ['--synthetic', '5 bananas'], /--synthetic.*'5 bananas'.*expected a size like/s],
    ['serve', ['--synthetic', '-4096'], /--synthetic/],
    ['serve', ['--synthetic', '1MiB', '--wait', 'sleepy'], /--wait.*'sleepy'.*adaptive, spin, block/s],
    [
      'serve',
      ['--synthetic', '1MiB', '--listen', 'carrier-pigeon://x'],
      /carrier-pigeon.*tcp:\/\/HOST:PORT/s,
    ],
    [
      'serve',
      ['--synthetic', '1MiB', '--listen', 'tcp://127.0.0.1'],
      /tcp:\/\/127\.0\.0\.1.*tcp:\/\/HOST:PORT/s,
    ],
    ['serve', ['--synthetic', '1MiB', '--listen', 'tcp://127.0.0.1:70000'], /70000.*tcp:\/\/HOST:PORT/s],
    ['serve', ['--synthetic', '1MiB', '--affinity', '9999'], /--affinity: got 9999.*one of 0/],
    ['serve', ['--synthetic', '1MiB', '--frobnicate'], /unknown option '--frobnicate'/],
    [
      'serve',
      ['--synthetic', '1MiB', '--without', 'turbo'],
      /--without: got turbo, expected some of class, /,
    ],
    ['serve', ['--synthetic', '1MiB', '--pace', 'fast'], /--pace.*'fast'.*like 900Mbit/s],
    ['serve', ['--synthetic', '1MiB', '--pace', '9Mbit', '--listen', 'shm:/x'], /pace: got shm:.*tcp:/],
    [
      'serve',
      ['--synthetic', '1MiB', '--link', '1gbit/1ms', '--without', 'quantum'],
      /--without: got quantum, expected none of order, quantum, fair with an emulated link/,
    ],
    ['serve', ['--synthetic', '1MiB', '--without', 'window'], /got window.*window is a level of attach/],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--without', 'class,quantum'],
      /got quantum.*quantum is a level of serve/,
    ],
    ['attach', ['--socket', 's'], /required option '--source <url>'/],
    ['attach', ['--source', 'tcp://127.0.0.1:1'], /required option '--socket <path>'/],
    ['attach', ['--socket', 's', '--source', 'nowhere'], /nowhere.*tcp:\/\/HOST:PORT/s],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--prefault', 'magic'],
      /--prefault.*'magic'/,
    ],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--affinity', 'left'],
      /--affinity.*'left'.*auto, off or a processor/s,
    ],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--on-loss', 'zero'],
      /--on-loss.*'zero'.*wait, kill/s,
    ],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--page-size', '5000'],
      /--page-size.*'5000'.*4096, 2MiB or 1GiB/s,
    ],
    [
      'attach',
      ['--socket', 's', '--source', 'tcp://127.0.0.1:1', '--transport', './no.js'],
      /--transport: got file:.*no\.js/,
    ],
    ['levitate', [], /unknown command 'levitate'/],
  ] as [string, string[], RegExp][])('%s %j', async (command, args, message) => {
    const [code, said] = await refusal([command, ...args])
    expect(said).toMatch(message)
    expect(code).toBe(2)
  })

  it('leaves no socket behind when the processor is refused', async () => {
    const [code] = await refusal([
      'serve',
      ...['--synthetic', '1MiB', '--listen', `shm:${bench.path('source')}`, '--affinity', '9999'],
    ])
    expect([code, existsSync(bench.path('source'))]).toEqual([2, false])
  })

  it('says its version, exit 0', async () => {
    const run = bench.faultlane('--version')
    expect([await run.ended, run.stdout()]).toEqual([0, `${VERSION}\n`])
  })

  it('names a socket path that is too long', async () => {
    const fake = new FakeSource()
    const url = await fake.listen()
    const [code, said] = await refusal(['attach', '--socket', bench.path('x'.repeat(120)), '--source', url])
    await fake.close()
    expect(said).toMatch(/unix socket path: got ".*xxx.*expected 1 to 107 bytes/)
    expect(code).toBe(2)
  })
})

describe('serve, exit 1', () => {
  it.each([
    ['missing', () => {}, /image \S+image cannot be read: ENOENT/],
    [
      'a folder',
      (path: string) => mkdirSync(path),
      /image \S+image cannot be read: (EISDIR|it is not a regular file)/,
    ],
    ['empty', (path: string) => writeFileSync(path, ''), /holds 0 bytes.*multiple of the page size 4096/],
    [
      'of 5000 bytes',
      (path: string) => writeFileSync(path, Buffer.alloc(5000)),
      /holds 5000 bytes.*multiple of the page size 4096/,
    ],
  ] as [string, (path: string) => void, RegExp][])('says that the image is %s', async (_, make, message) => {
    make(bench.path('image'))
    const [code, said] = await refusal(['serve', '--image', bench.path('image')])
    expect(said).toMatch(message)
    expect(code).toBe(1)
  })

  it('says that the image may not be read', async () => {
    const path = image()
    chmodSync(path, 0)
    if (process.getuid?.() === 0) return // Root reads everything.
    expect(await refusal(['serve', '--image', path])).toEqual([
      1,
      expect.stringMatching(/cannot be read: EACCES/),
    ])
  })

  it('says that the port is in use', async () => {
    const { url } = await bench.serve('--image', image())
    const [code, said] = await refusal(['serve', '--image', bench.path('image'), '--listen', url])
    expect(said).toMatch(/tcp:\S+ is in use: another process listens there; choose another port, or 0/)
    expect(code).toBe(1)
  })

  it('keeps serving when its image shrinks: an error for the pages that are gone, never a wrong byte', async () => {
    const { source, url } = await bench.serve('--image', image(4))
    truncateSync(bench.path('image'), 4096)
    const replies = await talk(
      url,
      [hello({ lane: LANE_CODE.demand }), frame(1, 0, 1), frame(2, 2, 1)],
      WELCOME_BYTES + 16 + 4096 + 16,
    )
    const at = WELCOME_BYTES
    expect(replies.readUInt32LE(at + 12)).toBe(FRAME_MAGIC)
    expect(replies.subarray(at + 16, at + 16 + 4096)).toEqual(Buffer.alloc(4096, 0xaa))
    expect(replies.readUInt32LE(at + 16 + 4096 + 12)).toBe((FRAME_MAGIC | 2) >>> 0)
    expect(source.child.exitCode).toBe(null)
  })
})

interface Hello {
  version?: number
  lane?: number
  pageBytes?: number
  imageId?: [number, number]
}
function hello({
  version = WIRE_VERSION,
  lane = LANE_CODE.demand,
  pageBytes = 4096,
  imageId = [0, 0],
}: Hello): Buffer {
  const bytes = Buffer.alloc(HELLO_BYTES)
  const words = [HELLO_MAGIC, version, lane, pageBytes, ...imageId]
  const at = [HELLO.MAGIC, HELLO.VERSION, HELLO.LANE, HELLO.PAGE_BYTES, HELLO.IMAGE_LOW, HELLO.IMAGE_HIGH]
  at.forEach((index, i) => {
    bytes.writeUInt32LE(words[i] as number, index * 4)
  })
  return bytes
}
/** Sends and collects until `bytesMax` have come or the peer closes. */
async function talk(url: string, sent: Buffer[], bytesMax = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const { hostname, port } = new URL(url.replace('tcp:', 'http:'))
  const socket = connect(Number(port), hostname)
  let got = Buffer.alloc(0)
  for (const bytes of sent) socket.write(bytes)
  socket.on('data', (data) => {
    got = Buffer.concat([got, data])
    if (got.length >= bytesMax) socket.destroy()
  })
  socket.on('error', () => {})
  await once(socket, 'close')
  return got
}

describe('serve and strangers', () => {
  const READ_WELCOME = WELCOME_BYTES
  it.each([
    [
      'HTTP',
      [Buffer.from('GET / HTTP/1.1\r\n\r\n')],
      /does not speak our protocol: its first bytes are 47 45 54 20/,
    ],
    ['TLS', [Buffer.from([22, 3, 1, 2, 0, 1, 0, 1])], /does not speak our protocol/],
    ['another version', [hello({ version: 9 })], /version 9/],
    ['a lane that there is not', [hello({ lane: 7 })], /lane 7/],
    ['pages of 5000 bytes', [hello({ pageBytes: 5000 })], /page size 5000/],
    ['pages larger than the image', [hello({ pageBytes: 1 << 20 })], /page size 1048576/],
    ['another image', [hello({ imageId: [1, 2] })], /status 3/],
    [
      'a frame of another magic',
      [hello({}), frame(1, 0, 1, 0x12345678)],
      /a request frame ending in 0x12345678/,
    ],
    ['a read of no page', [hello({}), frame(1, 0, 0)], /a read of pages 0\+0, outside/],
    ['a read that is too long', [hello({}), frame(1, 0, 33)], /a read of pages 0\+33/],
    [
      'an offset beyond the image',
      [hello({}), frame(1, 4, 1)],
      /a read of pages 4\+1, outside the image's 4 pages/,
    ],
    ['a length beyond the image', [hello({}), frame(1, 3, 2)], /a read of pages 3\+2/],
    [
      'the largest numbers',
      [hello({ lane: LANE_CODE.prefault }), frame(0xffffffff, 0xffffffff, 0xffffffff)],
      /4294967295/,
    ],
  ] as [string, Buffer[], RegExp][])('hangs up on %s, says why, and serves on', async (_, sent, reason) => {
    const { source, url } = await bench.serve('--image', image())
    const answer = await talk(url, sent)
    expect(answer.length).toBeLessThanOrEqual(READ_WELCOME)
    await source.says(reason)
    const good = await talk(url, [hello({}), frame(5, 1, 1)], WELCOME_BYTES + 16 + 4096)
    expect(good.subarray(WELCOME_BYTES, WELCOME_BYTES + 16)).toEqual(frame(5, 1, 1))
    expect(good.subarray(WELCOME_BYTES + 16)).toEqual(Buffer.alloc(4096, 0xaa))
  })

  it('says in the welcome what version it speaks', async () => {
    const { url } = await bench.serve('--image', image())
    const answer = await talk(url, [hello({ version: 9 })])
    expect(answer.readUInt32LE(WELCOME.VERSION * 4)).toBe(WIRE_VERSION)
    expect(answer.readUInt32LE(WELCOME.STATUS * 4)).toBe(STATUS.BAD_VERSION)
  })

  it('forgets whoever hangs up in the middle of a hello or a frame', async () => {
    const { source, url } = await bench.serve('--image', image())
    const { hostname, port } = new URL(url.replace('tcp:', 'http:'))
    for (const bytes of [
      hello({}).subarray(0, 10),
      Buffer.concat([hello({}), frame(1, 0, 1).subarray(0, 9)]),
    ]) {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.end(bytes)
      socket.resume()
      await once(socket, 'close')
    }
    await source.says(/closed after 10 of 32 hello bytes/)
    const good = await talk(url, [hello({}), frame(5, 0, 1)], WELCOME_BYTES + 16 + 4096)
    expect(good.length).toBe(WELCOME_BYTES + 16 + 4096)
  })
})

describe('attach and its source, exit 1', () => {
  async function attachTo(url: string): Promise<[number | string, string]> {
    return await refusal(['attach', '--socket', bench.path('s'), '--source', url])
  }
  async function withServer<T extends Server>(server: T, use: (url: string) => Promise<void>): Promise<void> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await use(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`)
    server.close()
  }

  it('says that nobody listens', async () => {
    const [code, said] = await attachTo('tcp://127.0.0.1:1')
    expect(said).toMatch(/cannot reach the source at tcp:\/\/127\.0\.0\.1:1: ECONNREFUSED/)
    expect(code).toBe(1)
  })

  it('says that a name does not resolve', async () => {
    const [code, said] = await attachTo('tcp://no-such-host.invalid:1')
    expect(said).toMatch(/cannot reach .*no-such-host\.invalid does not resolve/)
    expect(code).toBe(1)
  })

  it('says that the peer echoes', async () => {
    await withServer(
      createServer((socket) => socket.on('error', () => {}).pipe(socket)),
      async (url) => {
        const [code, said] = await attachTo(url)
        expect(said).toMatch(/does not speak our protocol/)
        expect(code).toBe(1)
      },
    )
  })

  it('says that the peer speaks HTTP', async () => {
    await withServer(createHttpServer(), async (url) => {
      const [code, said] = await attachTo(url)
      expect(said).toMatch(/does not speak our protocol: got (first bytes 48 54 54 50|\d+ of 8 bytes)/)
      expect(code).toBe(1)
    })
  })

  it('says that the peer says nothing', async () => {
    await withServer(
      createServer((socket) => socket.on('error', () => {})),
      async (url) => {
        const [code, said] = await attachTo(url)
        expect(said).toMatch(/cannot reach the source at .*: no welcome in time/)
        expect(code).toBe(1)
      },
    )
  })

  it.each([
    [
      'another version',
      { welcome: { VERSION: 2, STATUS: STATUS.BAD_VERSION } },
      /speaks protocol version 2, this end speaks 1/,
    ],
    ['another page size', { welcome: { PAGE_BYTES: 8192 } }, /in pages of 8192, expected .* of 4096/],
    [
      'a refusal of the page size',
      { welcome: { STATUS: STATUS.BAD_PAGE_SIZE } },
      /page size asked of .*: got 4096 bytes/,
    ],
    ['an image of no bytes', { welcome: { BYTES_LOW: 0 } }, /an image of 0 bytes/],
    ['an image of half pages', { welcome: { BYTES_LOW: 6144 } }, /an image of 6144 bytes/],
    ['an image larger than any', { welcome: { BYTES_HIGH: 0xffffffff } }, /an image of \d+ bytes/],
    ['more extents than pages', { welcome: { EXTENT_PAIRS: 0xfffffffe } }, /4294967294 extents/],
    ['extents outside the image', { extents: [0, 4, 15, 2] }, /extents that are none/],
    ['extents in disorder', { extents: [8, 2, 0, 2] }, /extents that are none/],
    ['half a welcome', { welcomeBytes: 20 }, /20 of 48 bytes before it closed/],
  ] as [string, FakeSourceOptions, RegExp][])('says that it got %s', async (_, options, message) => {
    const fake = new FakeSource(options)
    const [code, said] = await attachTo(await fake.listen())
    await fake.close()
    expect(said).toMatch(message)
    expect(code).toBe(1)
  })
})

describe('attach and its socket', () => {
  let fake: FakeSource
  let url: string
  beforeEach(async () => {
    fake = new FakeSource()
    url = await fake.listen()
  })
  afterEach(() => fake.close())
  const attachAt = (path: string) =>
    bench.faultlane('attach', '--socket', path, '--source', url, '--prefault', 'off')

  it('replaces what a killed attach left behind', async () => {
    const path = bench.path('s')
    const first = attachAt(path)
    await first.says(/ready/)
    first.child.kill('SIGKILL')
    await first.ended
    expect(statSync(path).isSocket()).toBe(true)
    await attachAt(path).says(/ready/)
  })

  it.each([
    [
      'a living attach',
      (path: string) => attachAt(path).says(/ready/),
      /is in use: a process listens on this socket/,
    ],
    [
      'a file',
      async (path: string) => writeFileSync(path, 'mine'),
      /is in use: there is a file at this path/,
    ],
  ] as [string, (path: string) => Promise<unknown>, RegExp][])(
    'leaves %s alone',
    async (_, make, message) => {
      const path = bench.path('s')
      await make(path)
      const second = attachAt(path)
      expect(await second.ended).toBe(1)
      expect(second.stderr()).toMatch(message)
      expect(statSync(path)).toBeDefined()
    },
  )

  it('names a folder that is not there', async () => {
    const run = attachAt(bench.path('no/s'))
    expect(await run.ended).toBe(1)
    expect(run.stderr()).toMatch(/bind failed with ENOENT .*no\/s/)
  })

  const region = (base: number, size: number, offset: number) => ({
    base_host_virt_addr: base,
    size,
    offset,
    page_size: 4096,
  })
  it.each([
    ['HTTP', 'GET / HTTP/1.1\r\n\r\n', /not a JSON array or object/],
    ['half a body', '[{"base_host_virt_addr":4096', /hung up: the body is not complete/],
    ['a list of nothing', '[]', /names no region/],
    ['no list', '{"vcpus":4}', /holds no list of regions/],
    ['a body without a userfaultfd', JSON.stringify([region(4096, 4096, 0)]), /without a userfaultfd/],
    [
      'overlapping regions',
      JSON.stringify([region(4096, 8192, 0), region(8192, 4096, 8192)]),
      /regions 0 and 1 overlap/,
    ],
    [
      'a misaligned region',
      JSON.stringify([region(4097, 4096, 0)]),
      /region 0 has base_host_virt_addr 4097, not a multiple/,
    ],
    [
      'a region outside the image',
      JSON.stringify([region(4096, 4096, 16 * 4096)]),
      /region 0 .*leaves the image of 65536 bytes/,
    ],
    ['a negative offset', JSON.stringify([region(4096, 4096, -4096)]), /no whole number offset/],
  ] as [string, string, RegExp][])('refuses %s and takes the next client', async (_, body, message) => {
    const run = attachAt(bench.path('s'))
    await run.says(/ready/)
    const stranger = connect(bench.path('s'))
    stranger.on('error', () => {})
    stranger.end(body)
    stranger.resume()
    await run.says(message)
    const [, refused] = await run.says(/refused a client: (.*)/)
    expect(refused).toMatch(/expected/)
    const next = connect(bench.path('s'))
    next.on('error', () => {})
    next.end('nor this')
    next.resume()
    await run.says(/refused a client[\s\S]*refused a client/)
    expect(run.child.exitCode).toBe(null)
  })
})
