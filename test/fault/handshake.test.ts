import { readdirSync, readlinkSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { FaultlaneError } from '../../src/errors.ts'
import {
  HANDSHAKE_MS_MAX,
  type Handshake,
  HandshakeReceiver,
  isClientGone,
} from '../../src/fault/handshake.ts'
import { encodeHandshake } from '../../src/fault/handshake-parse.ts'
import { rehearseHandshake } from '../../src/fault/rehearsal.ts'
import { openUserfaultfd } from '../../src/fault/userfaultfd-open.ts'
import { AF, FCNTL, MSG, OPEN, SOCK, SYS, UFFD } from '../../src/native/abi.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { check, libc } from '../../src/native/libc.ts'
import { DescriptorMessages } from '../../src/native/unix-socket.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'

const IMAGE_BYTES = 1 << 30
const PAIR = SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC

/** Every descriptor of this process: a leak is a difference. */
function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return `${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`
    } catch {
      return [] // The one that readdir itself had open.
    }
  })
}

describe.skipIf(!userfaultfdOrSkipLoudly())('HandshakeReceiver', () => {
  const messages = new DescriptorMessages()
  const scratch = new NativeBuffer(1 << 20)
  let before: string[]
  let near: number
  let receiver: HandshakeReceiver
  let nowNs = 0
  let ours: number[]

  beforeEach(() => {
    before = descriptors()
    const fds = new NativeBuffer(8)
    check(libc().socketpair(AF.UNIX, PAIR, 0, fds.address), 'socketpair', 'test')
    near = fds.i32[0]!
    ours = [near]
    nowNs = 0
    receiver = new HandshakeReceiver(IMAGE_BYTES, { nowNs: () => nowNs })
    receiver.begin(fds.i32[1]!)
  })
  afterEach(() => {
    for (const fd of ours) libc().close(fd)
    expect(descriptors()).toEqual(before)
  })

  function userfaultfd(): number {
    const { fd } = openUserfaultfd()
    ours.push(fd)
    return fd
  }
  function other(): number {
    const fd = libc().memfd_create('not-a-userfaultfd', 1)
    ours.push(fd)
    return fd
  }
  function hangUp(): void {
    libc().close(ours.shift()!)
  }
  function send(text: string, ...fds: number[]): void {
    const bytes = Buffer.from(text)
    scratch.u8.set(bytes)
    expect(messages.send(near, scratch.address, bytes.length, fds)).toBe(bytes.length)
  }
  function done(): Handshake {
    const result = receiver.step()
    if (result === 'waiting') throw new Error('still waiting')
    ours.push(result.userfaultfd, result.socket)
    return result
  }
  function failure(): string {
    try {
      receiver.step()
    } catch (error) {
      expect(error).toBeInstanceOf(FaultlaneError)
      expect((error as FaultlaneError).code).toBe('HANDSHAKE')
      return (error as Error).message
    }
    throw new Error('no failure')
  }
  const bodyOf = (count: number) =>
    encodeHandshake(
      Array.from({ length: count }, (_, i) => ({
        base: 0xffff_8000_0000_0000n + BigInt(i * 8192),
        bytes: 4096,
        offset: i * 4096,
      })),
      4096,
    )

  it('takes all in one message, and a body far beyond 1024 bytes', () => {
    expect(receiver.step()).toBe('waiting')
    send(bodyOf(1000), userfaultfd())
    const handshake = done()
    expect(handshake.regions).toHaveLength(1000)
    expect(handshake.regions[999]?.base).toBe(0xffff_8000_007c_e000n)
    expect(handshake.clientPid).toBe(process.pid)
    expect(readlinkSync(`/proc/self/fd/${handshake.userfaultfd}`)).toContain('[userfaultfd]')
    receiver.close() // Handed over: nothing is closed.
    expect(libc().fcntl(handshake.userfaultfd, FCNTL.GETFL, 0) & OPEN.NONBLOCK).toBe(OPEN.NONBLOCK)
  })

  it.each([
    ['with the first piece', 0],
    ['with a later piece', 1],
    ['with the last piece', 2],
    ['alone in a message before the body', -1],
    ['alone in a message after the body', 3],
  ])('takes a split body with the userfaultfd %s', (_, carrier) => {
    const text = bodyOf(9)
    const pieces = [text.slice(0, 7), text.slice(7, 700), text.slice(700)]
    const fd = userfaultfd()
    if (carrier === -1) send('\0', fd)
    pieces.forEach((piece, i) => {
      expect(receiver.step()).toBe('waiting')
      send(piece, ...(i === carrier ? [fd] : []))
    })
    if (carrier === 3) {
      expect(receiver.step()).toBe('waiting')
      send('\0', fd)
    }
    expect(done().regions).toHaveLength(9)
  })

  it('takes a body byte by byte', () => {
    const text = bodyOf(2)
    const fd = userfaultfd()
    for (let i = 0; i < text.length - 1; i++) {
      send(text.charAt(i), ...(i === 5 ? [fd] : []))
      expect(receiver.step()).toBe('waiting')
    }
    send(text.charAt(text.length - 1))
    expect(done().regions).toHaveLength(2)
  })

  it('keeps the one userfaultfd among other descriptors and closes those', () => {
    send(bodyOf(1), other(), userfaultfd(), other(), userfaultfd())
    const { userfaultfd: kept, socket } = done()
    expect(descriptors()).toHaveLength(before.length + ours.length)
    expect(kept).not.toBe(socket)
  })

  it('makes a blocking userfaultfd non-blocking', () => {
    const fd = userfaultfd()
    libc().fcntl(fd, FCNTL.SETFL, OPEN.RDWR)
    send(bodyOf(1), fd)
    expect(libc().fcntl(done().userfaultfd, FCNTL.GETFL, 0) & OPEN.NONBLOCK).toBe(OPEN.NONBLOCK)
  })

  it('refuses a descriptor that is no userfaultfd, and says what it is', () => {
    send(bodyOf(1), other())
    expect(failure()).toMatch(/\/memfd:not-a-userfaultfd.*not a userfaultfd/)
  })

  it('refuses a userfaultfd that nobody initialised', () => {
    const c = libc()
    const fd = c.syscall3(SYS[c.arch].userfaultfd, OPEN.NONBLOCK | OPEN.CLOEXEC | UFFD.USER_MODE_ONLY, 0, 0)
    ours.push(fd)
    send(bodyOf(1), fd)
    expect(failure()).toMatch('has not been initialised')
  })

  it.each([
    ['no JSON', 'GET / HTTP/1.1\r\n', 'not a JSON array or object'],
    ['broken JSON', '[{]', 'not JSON'],
    ['no region', '[]', 'names no region'],
    [
      'a region outside the image',
      encodeHandshake([{ base: 0n, bytes: 2 ** 31, offset: 0 }], 4096),
      'leaves the image',
    ],
    ['bytes after the body', `${bodyOf(1)}[`, 'after the end'],
  ])('refuses %s', (_, text, reason) => {
    send(text, userfaultfd())
    hangUp()
    expect(failure()).toMatch(new RegExp(reason))
  })

  it.each([
    ['at once', '', 'no body'],
    ['in the middle of the body', bodyOf(1).slice(0, 20), '20 bytes came'],
    ['without a userfaultfd', bodyOf(1), 'came without a userfaultfd'],
  ])('notices a client that hangs up %s', (_, text, reason) => {
    if (text) send(text)
    hangUp()
    expect(failure()).toMatch(reason)
  })

  it('gives up at the deadline, whatever has come', () => {
    send(bodyOf(1).slice(0, 20), userfaultfd())
    nowNs = HANDSHAKE_MS_MAX * 1e6 - 1
    expect(receiver.step()).toBe('waiting')
    nowNs++
    expect(failure()).toMatch('20 bytes came) in time')
  })

  it('closes everything when it is closed half way', () => {
    send(bodyOf(1).slice(0, 20), userfaultfd(), other())
    expect(receiver.step()).toBe('waiting')
    receiver.close()
    receiver.close()
  })

  it('has a step bounded against a client that never stops sending', () => {
    const fd = other()
    for (let i = 0; i < 20; i++) send(' ', fd) // A descriptor ends a read, so these are 20 reads.
    expect(receiver.step()).toBe('waiting')
    expect(libc().recv(receiver.socket, scratch.address, 64, MSG.PEEK | MSG.DONTWAIT)).toBeGreaterThan(0)
    expect(receiver.step()).toBe('waiting')
    expect(libc().recv(receiver.socket, scratch.address, 64, MSG.PEEK | MSG.DONTWAIT)).toBe(-1)
    receiver.close()
  })

  it('tells later when the client is gone, and drops what it sends in between', () => {
    send(bodyOf(1), userfaultfd())
    const { socket } = done()
    expect(isClientGone(socket, scratch)).toBe(false)
    send('chatter')
    expect(isClientGone(socket, scratch)).toBe(false)
    hangUp()
    expect(isClientGone(socket, scratch)).toBe(true)
  })

  it('can be rehearsed, and leaves nothing behind', () => {
    receiver.close()
    rehearseHandshake(3)
  })

  it('works with the machine clock', () => {
    const real = new HandshakeReceiver(IMAGE_BYTES, monotonicClock, 0)
    real.begin(receiver.socket)
    expect(() => real.step()).toThrow(/no body.* in time/)
  })
})
