import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AF, SCM_FDS_MAX, SOCK } from '../../src/native/abi.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import {
  connectUnix,
  DescriptorMessages,
  identityOf,
  PEER_BYTES,
  peerPid,
  peerUid,
  removeDeadSocket,
  UNIX_PATH_BYTES_MAX,
  UnixListener,
  WOULD_BLOCK,
} from '../../src/native/unix-socket.ts'

let folder: string
let path: string
const children: ChildProcess[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultlane-unix-'))
  path = join(folder, 's')
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

function openFds(): number {
  return readdirSync('/proc/self/fd').length
}

/** A child process that listens on `path`, until it is killed. */
async function listenElsewhere(): Promise<ChildProcess> {
  const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  await once(child.stdout!, 'data')
  return child
}

describe('UnixListener', () => {
  it('accepts connections and knows the pid of the peer', () => {
    const listener = new UnixListener(path)
    expect(listener.tryAccept()).toBe(WOULD_BLOCK)
    const near = connectUnix(path)
    const far = listener.tryAccept()
    expect(peerUid(far, new NativeBuffer(PEER_BYTES))).toBe(process.geteuid!())
    expect(far).toBeGreaterThan(0)
    expect(listener.tryAccept()).toBe(WOULD_BLOCK)
    expect(peerPid(far, new NativeBuffer(PEER_BYTES))).toBe(process.pid)
    libc().close(near)
    libc().close(far)
    expect(listener.file).toEqual({ path, identity: identityOf(path) })
    listener.close()
    listener.close()
    expect(existsSync(path)).toBe(false)
    expect(listener.file).toBe(undefined)
  })

  it('replaces the socket file of a killed process, but not that of a living one', async () => {
    const child = await listenElsewhere()
    const before = openFds()
    expect(() => new UnixListener(path)).toThrow(/in use: a process listens/)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(lstatSync(path).isSocket()).toBe(true)
    const listener = new UnixListener(path)
    libc().close(connectUnix(path))
    listener.close()
    expect(openFds()).toBe(before - 1) // The child's pipe.
  })

  it('leaves files, directories and links at the path alone, and names them', () => {
    writeFileSync(path, 'precious')
    expect(() => new UnixListener(path)).toThrow(`${path} is in use: there is a file`)
    expect(readFileSync(path, 'utf8')).toBe('precious')
    mkdirSync(join(folder, 'd'))
    expect(() => new UnixListener(join(folder, 'd'))).toThrow('there is a directory')
    symlinkSync('/nowhere', join(folder, 'l'))
    expect(() => new UnixListener(join(folder, 'l'))).toThrow('there is a symbolic link')
  })

  it('removes on close only its own file', async () => {
    const listener = new UnixListener(path)
    renameSync(path, join(folder, 'moved'))
    const other = createServer().listen(path)
    await once(other, 'listening')
    listener.close()
    expect(existsSync(path)).toBe(true)
    other.close()
  })

  it('a killed listener’s file is removed by who was connected, and no living one’s or later one’s', async () => {
    const first = await listenElsewhere()
    const identity = identityOf(path)
    expect(removeDeadSocket(path, identity)).toBe(false)
    expect(identityOf(path), 'its listener lives').toBe(identity)
    first.kill('SIGKILL')
    await once(first, 'exit')
    removeDeadSocket(path, undefined)
    removeDeadSocket(path, 'another')
    removeDeadSocket(path, identity, libc().geteuid() + 1)
    expect(identityOf(path)).toBe(identity)
    expect(removeDeadSocket(path, identity, libc().geteuid())).toBe(true)
    expect(readdirSync(folder)).toEqual([])

    removeDeadSocket(path, identity) // Nothing is there any more.
    const second = new UnixListener(path)
    removeDeadSocket(path, identity)
    libc().close(connectUnix(path))
    second.close()
    writeFileSync(path, 'precious')
    removeDeadSocket(path, identityOf(path))
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })

  it('takes the longest path and names a longer one', () => {
    const long = join(folder, 'x'.repeat(UNIX_PATH_BYTES_MAX - folder.length - 1))
    new UnixListener(long).close()
    expect(() => new UnixListener(`${long}y`)).toThrow('expected 1 to 107 bytes')
    expect(() => new UnixListener('')).toThrow('expected 1 to 107 bytes')
    expect(() => connectUnix('a\0b')).toThrow('none of them zero')
  })

  it('says what the system says of a folder that is not there, and of nobody listening', () => {
    const before = openFds()
    expect(() => new UnixListener(join(folder, 'no', 's'))).toThrow(/bind failed with ENOENT/)
    expect(() => connectUnix(path)).toThrow(/connect failed with ENOENT/)
    expect(openFds()).toBe(before)
  })
})

describe('DescriptorMessages', () => {
  const messages = new DescriptorMessages()
  const buffer = new NativeBuffer(256)
  function pair(): [number, number] {
    const fds = new NativeBuffer(8)
    expect(libc().socketpair(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC, 0, fds.address)).toBe(0)
    return [fds.i32[0]!, fds.i32[1]!]
  }

  it.each([0, 1, 2, 3, SCM_FDS_MAX])('carries bytes with %i descriptors, close-on-exec', (count) => {
    const before = openFds()
    const [near, far] = pair()
    buffer.u8.set(Buffer.from('hello'))
    expect(messages.send(near, buffer.address, 5, new Array(count).fill(near))).toBe(5)
    buffer.u8.fill(0)
    const fds: number[] = []
    expect(messages.receive(far, buffer.address, buffer.bytes, fds)).toBe(5)
    expect(Buffer.from(buffer.u8.subarray(0, 5)).toString()).toBe('hello')
    expect(fds).toHaveLength(count)
    for (const fd of fds) {
      expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/flags:\s+02\d{6}/)
      libc().close(fd)
    }
    expect(messages.receive(far, buffer.address, buffer.bytes, fds)).toBe(WOULD_BLOCK)
    libc().close(near)
    expect(messages.receive(far, buffer.address, buffer.bytes, fds)).toBe(0)
    libc().close(far)
    expect(openFds()).toBe(before)
  })

  it('refuses what cannot be sent, and says when the peer is gone', () => {
    const [near, far] = pair()
    expect(() => messages.send(near, buffer.address, 1, [9999])).toThrow(/EBADF/)
    libc().close(far)
    expect(() => messages.send(near, buffer.address, 1, [])).toThrow(/EPIPE/)
    libc().close(near)
  })
})
