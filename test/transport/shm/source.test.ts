/** The source's side of the exchange, spoken to by hand: both ends in this thread. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Image } from '../../../src/memory/image.ts'
import { NativeBuffer } from '../../../src/native/buffer.ts'
import { libc } from '../../../src/native/libc.ts'
import {
  connectUnix,
  DescriptorMessages,
  identityOf,
  UnixListener,
  WOULD_BLOCK,
} from '../../../src/native/unix-socket.ts'
import { encodeNotice } from '../../../src/transport/shared-image/notice.ts'
import {
  HELLO_BYTES,
  LANE_CODE,
  NOTICE,
  NOTICE_BYTES,
  SHARE_VERSION,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
} from '../../../src/transport/shared-image/wire.ts'
import { source } from '../../../src/transport/shm/index.ts'
import { SHM } from '../../../src/transport/shm/protocol.ts'
import type { SourceAgent } from '../../../src/transport/source.ts'
import type { SocketFile } from '../../../src/transport/transport.ts'

const GOOD = [SHM.helloMagic, SHARE_VERSION, LANE_CODE.demand, 4096]
const BULK = [SHM.helloMagic, SHARE_VERSION, LANE_CODE.prefault, 4096]
const messages = new DescriptorMessages()
let folder: string
let path: string
let image: Image
let agent: SourceAgent
let refusals: string[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultlane-shm-'))
  path = join(folder, 's')
  writeFileSync(join(folder, 'image'), Buffer.alloc(64 * 1024, 7))
  image = Image.open(join(folder, 'image'))
  refusals = []
  agent = listen()
})
afterEach(() => {
  agent.close()
  image.close()
  rmSync(folder, { recursive: true })
})

function listen(): SourceAgent {
  return source.listen(`shm:${path}`, image.description, {
    wakeFd: -1,
    onRefused: (why) => refusals.push(why),
  })
}

function turns(): void {
  for (let i = 0; i < 4; i++) agent.doWork()
}

/** Says hello by words and returns the answer: its bytes (0: closed) and the descriptors that came. */
function greetBy(
  words: readonly number[],
  bytes = HELLO_BYTES,
): { fd: number; got: number; status: number; fds: number[] } {
  const fd = connectUnix(path)
  const hello = new NativeBuffer(Math.max(HELLO_BYTES, bytes))
  hello.u32.set(words)
  expect(libc().send(fd, hello.address, bytes, 0)).toBe(bytes)
  turns()
  const welcome = new NativeBuffer(WELCOME_BYTES)
  const fds: number[] = []
  const got = messages.receive(fd, welcome.address, WELCOME_BYTES, fds)
  return { fd, got, status: welcome.u32[WELCOME.STATUS] as number, fds }
}

/** True when the source has hung up on us. */
function isHungUp(fd: number): boolean {
  const word = new NativeBuffer(8)
  turns()
  return messages.receive(fd, word.address, 1, []) === 0
}

describe('the shm source', () => {
  it('hands out the image, readable only, and its extents, sealed', () => {
    const { fd, got, status, fds } = greetBy(GOOD)
    expect([got, status, fds.length]).toEqual([WELCOME_BYTES, STATUS.OK, 2])
    expect(agent.stats.channels).toBe(1)
    const word = new NativeBuffer(8)
    for (const shared of fds) {
      expect(libc().write(shared, word.address, 8)).toBe(-1)
      libc().close(shared)
    }
    libc().close(fd)
    turns()
    expect(agent.stats).toMatchObject({ channels: 0, refused: 0 })
  })

  it.each([
    ['a later version', [SHM.helloMagic, SHARE_VERSION + 1, LANE_CODE.demand, 4096], STATUS.BAD_VERSION],
    ['no such lane', [SHM.helloMagic, SHARE_VERSION, 4, 4096], STATUS.BAD_LANE],
    [
      'a page size of 12 KiB',
      [SHM.helloMagic, SHARE_VERSION, LANE_CODE.demand, 12_288],
      STATUS.BAD_PAGE_SIZE,
    ],
    [
      'a page larger than the image',
      [SHM.helloMagic, SHARE_VERSION, LANE_CODE.demand, 131_072],
      STATUS.BAD_PAGE_SIZE,
    ],
  ])('refuses %s in its welcome, without descriptors, and hangs up', (_what, words, expected) => {
    const { fd, got, status, fds } = greetBy(words)
    expect([got, status, fds.length]).toEqual([WELCOME_BYTES, expected, 0])
    expect(isHungUp(fd)).toBe(true)
    expect(agent.stats).toMatchObject({ channels: 0, refused: 1 })
    expect(refusals[0]).toContain('refused with status')
    libc().close(fd)
  })

  it('hangs up on another protocol, on half a hello, and on whoever talks on', () => {
    const other = greetBy([0x20544547, 0x20310a2f, 0, 0])
    expect(other.got).toBe(0)
    const half = greetBy(GOOD, 8)
    expect(half.got).toBe(WOULD_BLOCK)
    libc().shutdown(half.fd, 1)
    expect(isHungUp(half.fd)).toBe(true)
    const chatty = greetBy(BULK)
    for (const shared of chatty.fds) libc().close(shared)
    libc().send(chatty.fd, new NativeBuffer(8).address, 8, 0)
    // Unread bytes make the hang-up a reset, which reads as the end, too.
    expect(isHungUp(chatty.fd)).toBe(true)
    expect(refusals).toHaveLength(3)
    expect(refusals[1]).toContain('8 of 16 hello bytes')
    expect(refusals[2]).toContain('more than its hello')
    for (const { fd } of [other, half, chatty]) libc().close(fd)
  })

  it('takes a hello in pieces', () => {
    const fd = connectUnix(path)
    const hello = new NativeBuffer(HELLO_BYTES)
    hello.u32.set(GOOD)
    for (let i = 0; i < HELLO_BYTES; i++) {
      libc().send(fd, hello.address + i, 1, 0)
      turns()
    }
    expect(agent.stats.channels).toBe(1)
    libc().close(fd)
  })

  it('refuses a path in use, and leaves no descriptor and no file behind', () => {
    const before = readdirSync('/proc/self/fd').length
    expect(listen).toThrow(/is in use/)
    expect(() => source.listen('shm:', image.description, { wakeFd: -1 })).toThrow(/expected shm:PATH/)
    const clients = Array.from({ length: 5 }, () => greetBy(GOOD))
    for (const { fd, fds } of clients) for (const one of [fd, ...fds]) libc().close(one)
    turns()
    expect(readdirSync('/proc/self/fd').length).toBe(before)
    agent.close()
    agent.close()
    expect(existsSync(path)).toBe(false)
    agent = listen()
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })
})

describe('what a destination leaves behind', () => {
  let other: string
  const children: ChildProcess[] = []
  beforeEach(() => {
    other = join(folder, 'handshake')
  })
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  /** A killed listener's file. */
  async function deadSocket(): Promise<SocketFile> {
    const program = `require('node:net').createServer().listen(${JSON.stringify(other)}, () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout!, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    return { path: other, identity: identityOf(other)! }
  }

  /** A destination that has said hello. */
  function connect(): number {
    const { fd, fds } = greetBy(GOOD)
    for (const shared of fds) libc().close(shared)
    return fd
  }

  function tell(fd: number, file: SocketFile | undefined, change = (_: NativeBuffer): void => {}): void {
    const notice = encodeNotice(file)
    change(notice)
    expect(libc().send(fd, notice.address, NOTICE_BYTES, 0)).toBe(NOTICE_BYTES)
    turns()
  }

  it('is removed when its connection ends, and not before', async () => {
    const file = await deadSocket()
    const fd = connect()
    tell(fd, file)
    turns()
    expect(existsSync(other)).toBe(true)
    libc().close(fd)
    turns()
    expect(existsSync(other)).toBe(false)
    expect(refusals).toEqual([])
    expect(readdirSync(folder).sort()).toEqual(['image', 's'])
  })

  it('stays when it was taken back, was never told, or came on another lane', async () => {
    const file = await deadSocket()
    const back = connect()
    tell(back, file)
    tell(back, undefined)
    libc().close(back)
    libc().close(connect())
    const bulk = greetBy(BULK)
    tell(bulk.fd, file)
    expect(refusals).toEqual(['a destination: it sent more than its hello'])
    for (const fd of [bulk.fd, ...bulk.fds]) libc().close(fd)
    turns()
    expect(identityOf(other)).toBe(file.identity)
  })

  it('is removed once nobody listens there any more: a dying process closes one descriptor after the other', async () => {
    const listener = new UnixListener(other)
    const fd = connect()
    tell(fd, listener.file)
    libc().close(fd)
    turns()
    expect(existsSync(other)).toBe(true)
    libc().close(listener.fd) // As the kernel does it: the file stays.
    while (existsSync(other)) agent.park(100)
  })

  it('is left alone when it is no socket, or not the one that was told', async () => {
    const file = await deadSocket()
    const fd = connect()
    tell(fd, file)
    renameSync(other, join(folder, 'moved'))
    const later = new UnixListener(other)
    libc().close(fd)
    turns()
    libc().close(connectUnix(other)) // It lives, and has not been replaced.
    later.close()

    writeFileSync(other, 'precious')
    const liar = connect()
    tell(liar, { path: other, identity: identityOf(other)! })
    libc().close(liar)
    turns()
    expect(existsSync(other)).toBe(true)
    expect(refusals).toEqual([])
  })

  it('is given up after a second of somebody listening, and costs a source nothing it cannot bear', async () => {
    const listener = new UnixListener(other)
    const before = readdirSync('/proc/self/fd').length
    symlinkSync('loop', join(folder, 'loop')) // What the kernel will not walk.
    for (const file of [listener.file, { path: join(folder, 'loop', 's'), identity: '1 2 3' }]) {
      const fd = connect()
      tell(fd, file)
      libc().close(fd)
    }
    const startMs = performance.now()
    while (performance.now() - startMs < 1200) agent.park(100)
    libc().close(listener.fd)
    for (let i = 0; i < 4; i++) agent.park(20)
    expect(existsSync(other)).toBe(true)
    expect(readdirSync('/proc/self/fd').length).toBe(before - 1)
  })

  it.each<[string, (notice: NativeBuffer) => void, RegExp]>([
    ['another message', ({ u32 }) => u32.fill(7), /more than its hello, and no notice/],
    [
      'a path that is too long',
      ({ u32 }) => u32.fill(108, NOTICE.PATH_BYTES, 2),
      /a path of 108 bytes, and 107 are/,
    ],
    [
      'a path that is no path',
      ({ u8 }) => u8.fill(0x78, NOTICE.PATH * 4),
      /the path "x+", which is not absolute/,
    ],
    ['a path with a zero', ({ u8 }) => u8.fill(0, NOTICE.PATH * 4 + 3), /which is not absolute/],
  ])('said by %s is refused, and who said it is hung up on', async (_what, change, reason) => {
    const file = await deadSocket()
    const fd = connect()
    tell(fd, file, change)
    expect(isHungUp(fd)).toBe(true)
    expect(refusals).toHaveLength(1)
    expect(refusals[0]).toMatch(reason)
    libc().close(fd)
    turns()
    expect(existsSync(other)).toBe(true)
  })

  it('takes a notice in pieces, and nothing from half of one', async () => {
    const file = await deadSocket()
    const [whole, half] = [connect(), connect()]
    const notice = encodeNotice(file)
    for (let at = 0; at < NOTICE_BYTES; at += 8) {
      libc().send(whole, notice.address + at, 8, 0)
      turns()
    }
    libc().send(half, notice.address, NOTICE_BYTES - 8, 0)
    turns()
    libc().close(half)
    turns()
    expect(existsSync(other)).toBe(true)
    libc().close(whole)
    turns()
    expect(existsSync(other)).toBe(false)
  })

  it.skipIf(libc().geteuid() !== 0)('is left alone when another user says so', async () => {
    const file = await deadSocket()
    chmodSync(folder, 0o777)
    chmodSync(path, 0o777)
    const bytes = (buffer: NativeBuffer, count: number) => JSON.stringify([...buffer.u8.subarray(0, count)])
    const hello = new NativeBuffer(HELLO_BYTES)
    hello.u32.set(GOOD)
    const program = `const c = require('node:net').connect(${JSON.stringify(path)})
      c.write(Buffer.from(${bytes(hello, HELLO_BYTES)}))
      c.once('data', () => c.write(Buffer.from(${bytes(encodeNotice(file), NOTICE_BYTES)}), () => console.log('told')))`
    const child = spawn(process.execPath, ['-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      uid: 65534,
      cwd: '/',
    })
    children.push(child)
    const told = once(child.stdout!, 'data')
    let isTold = false
    void told.then(() => {
      isTold = true
    })
    for (; !isTold; await new Promise(setImmediate)) agent.doWork()
    turns()
    child.kill('SIGKILL')
    await once(child, 'exit')
    while (agent.stats.channels > 0) agent.park(10)
    turns()
    expect(refusals).toEqual([])
    expect(identityOf(other)).toBe(file.identity)
  })
})
