/** The source's side of the exchange, spoken to by hand: both ends in this thread. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Image } from '../../../src/memory/image.ts'
import { NativeBuffer } from '../../../src/native/buffer.ts'
import { libc } from '../../../src/native/libc.ts'
import { connectUnix, DescriptorMessages, WOULD_BLOCK } from '../../../src/native/unix-socket.ts'
import {
  HELLO_BYTES,
  LANE_CODE,
  SHARE_VERSION,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
} from '../../../src/transport/shared-image/wire.ts'
import { source } from '../../../src/transport/shm/index.ts'
import { SHM } from '../../../src/transport/shm/protocol.ts'
import type { SourceAgent } from '../../../src/transport/source.ts'

const GOOD = [SHM.helloMagic, SHARE_VERSION, LANE_CODE.demand, 4096]
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
    const chatty = greetBy(GOOD)
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
