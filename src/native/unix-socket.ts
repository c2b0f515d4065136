/**
 * Unix stream sockets with descriptor passing, synchronous and never waiting: what a fault handler listens on and
 * receives a userfaultfd through. Every descriptor made or received here is close-on-exec; sockets are non-blocking.
 */
import { type BigIntStats, lstatSync, renameSync } from 'node:fs'
import { resolve } from 'node:path'
import { FaultlaneError } from '../errors.ts'
import {
  AF,
  CMSGHDR_BYTES,
  ERRNO,
  errnoName,
  MSG,
  MSGHDR,
  SCM_FDS_MAX,
  SCM_RIGHTS,
  SO,
  SOCK,
  SOCKADDR_UN,
  SOL_SOCKET,
  UCRED_BYTES,
} from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { check, type Libc, libc, systemError } from './libc.ts'

/** Longest path that fits struct sockaddr_un with its end mark. */
export const UNIX_PATH_BYTES_MAX = SOCKADDR_UN.PATH_BYTES - 1

/** Nothing there yet: no connection to accept, no bytes to receive, no room to send. */
export const WOULD_BLOCK = -1

/** Clients that may wait to be accepted; a guess, one VM a time is the usual case. */
const BACKLOG = 16

const SOCKET_TYPE = SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC

/** A bound path. The file belongs to us until somebody else puts another in its place. */
export class UnixListener {
  readonly fd: number
  readonly path: string
  readonly #identity: string
  #closed = false

  /** Binds and listens. Throws ADDRESS_IN_USE for a living listener; a dead one's socket file is replaced. */
  constructor(path: string) {
    const address = socketAddress(path)
    const fd = openSocket(path)
    try {
      bindOrReplace(fd, path, address)
      this.#identity = identityOf(path) ?? ''
      check(libc().listen(fd, BACKLOG), 'listen', `unix socket ${path}`)
    } catch (error) {
      libc().close(fd)
      throw error
    }
    this.fd = fd
    this.path = path
  }

  /** The descriptor of the next client, or WOULD_BLOCK. */
  tryAccept(): number {
    const fd = libc().accept4(this.fd, 0, 0, SOCK.NONBLOCK | SOCK.CLOEXEC)
    if (fd >= 0) return fd
    const errno = libc().errno()
    // A client that hung up before we came is no failure of the listener.
    if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR || errno === ERRNO.ECONNABORTED) return WOULD_BLOCK
    throw systemError('accept4', `unix socket ${this.path}`, errno)
  }

  /** What a sudden end leaves behind; undefined once closed. */
  get file(): { readonly path: string; readonly identity: string } | undefined {
    return this.#closed ? undefined : { path: resolve(this.path), identity: this.#identity }
  }

  /** Closes, and removes the file if it is still ours. Safe more than once. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (identityOf(this.path) === this.#identity) libc().unlink(this.path)
    libc().close(this.fd)
  }
}

/** Connects and returns the descriptor. Throws SYSTEM: ENOENT, ECONNREFUSED, EAGAIN (its backlog is full). */
export function connectUnix(path: string): number {
  const address = socketAddress(path)
  const fd = openSocket(path)
  if (libc().connect(fd, address.address, SOCKADDR_UN.BYTES) === 0) return fd
  const error = systemError('connect', `unix socket ${path}`)
  libc().close(fd)
  throw error
}

/** struct ucred, and the length that the call fills in. */
export const PEER_BYTES = UCRED_BYTES + 4 + 8

/** Process id of whoever connected the other end. @param scratch PEER_BYTES */
export function peerPid(fd: number, scratch: NativeBuffer): number {
  askPeer(fd, scratch)
  return scratch.i32[0] as number
}

/** Effective user id that whoever connected the other end had then. @param scratch PEER_BYTES */
export function peerUid(fd: number, scratch: NativeBuffer): number {
  askPeer(fd, scratch)
  return scratch.i32[1] as number
}

function askPeer(fd: number, scratch: NativeBuffer): void {
  const length = scratch.address + UCRED_BYTES + 4
  scratch.u32[(UCRED_BYTES + 4) / 4] = UCRED_BYTES
  const result = libc().getsockopt(fd, SOL_SOCKET, SO.PEERCRED, scratch.address, length)
  check(result, 'getsockopt(SO_PEERCRED)', `socket ${fd}`)
}

/** Sends and receives bytes with descriptors attached. One per thread and use: it owns the structs for the call. */
export class DescriptorMessages {
  readonly #libc: Libc = libc()
  readonly #header = new NativeBuffer(MSGHDR.BYTES)
  readonly #io = new NativeBuffer(16)
  readonly #control = new NativeBuffer(CMSGHDR_BYTES + SCM_FDS_MAX * 4 + 4)

  /** Bytes sent (the descriptors go with the first of them), or WOULD_BLOCK. The descriptors stay the caller's. */
  send(socket: number, address: number, bytes: number, fds: readonly number[]): number {
    this.#prepare(address, bytes, fds.length === 0 ? 0 : CMSGHDR_BYTES + Math.ceil(fds.length / 2) * 8)
    this.#control.setU64(0, CMSGHDR_BYTES + fds.length * 4)
    this.#control.i32[2] = SOL_SOCKET
    this.#control.i32[3] = SCM_RIGHTS
    fds.forEach((fd, i) => {
      this.#control.i32[CMSGHDR_BYTES / 4 + i] = fd
    })
    const sent = this.#libc.sendmsg(socket, this.#header.address, MSG.NOSIGNAL | MSG.DONTWAIT)
    if (sent >= 0) return sent
    const errno = this.#libc.errno()
    if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return WOULD_BLOCK
    throw systemError('sendmsg', `unix socket ${socket}`, errno)
  }

  /**
   * Bytes received, 0 at the end of the stream (a peer killed with our bytes unread ends it by a reset), or
   * WOULD_BLOCK. Descriptors that came are appended to `fds` and
   * are the caller's to close; that holds when this throws, too.
   */
  receive(socket: number, address: number, bytes: number, fds: number[]): number {
    this.#prepare(address, bytes, this.#control.bytes)
    const received = this.#libc.recvmsg(socket, this.#header.address, MSG.CMSG_CLOEXEC | MSG.DONTWAIT)
    if (received < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return WOULD_BLOCK
      if (errno === ERRNO.ECONNRESET) return 0
      throw systemError('recvmsg', `unix socket ${socket}`, errno)
    }
    const end = this.#header.getU64(MSGHDR.CONTROLLEN)
    for (let at = 0; at + CMSGHDR_BYTES <= end; ) {
      const length = this.#control.getU64(at)
      if (length < CMSGHDR_BYTES) break
      const word = at / 4
      if (this.#control.i32[word + 2] === SOL_SOCKET && this.#control.i32[word + 3] === SCM_RIGHTS) {
        const count = (Math.min(length, end - at) - CMSGHDR_BYTES) >> 2
        for (let i = 0; i < count; i++) fds.push(this.#control.i32[word + CMSGHDR_BYTES / 4 + i] as number)
      }
      at += Math.ceil(length / 8) * 8
    }
    // There is room for all that one message can carry, so what is cut off found no free descriptor.
    if (((this.#header.i32[MSGHDR.FLAGS / 4] as number) & MSG.CTRUNC) !== 0) {
      throw systemError('recvmsg', `the descriptors sent on unix socket ${socket}`, ERRNO.EMFILE)
    }
    return received
  }

  #prepare(address: number, bytes: number, controlBytes: number): void {
    this.#io.setU64(0, address)
    this.#io.setU64(8, bytes)
    const header = this.#header
    header.u32.fill(0)
    header.setU64(MSGHDR.IOV, this.#io.address)
    header.setU64(MSGHDR.IOVLEN, 1)
    header.setU64(MSGHDR.CONTROL, controlBytes === 0 ? 0 : this.#control.address)
    header.setU64(MSGHDR.CONTROLLEN, controlBytes)
  }
}

function openSocket(path: string): number {
  return check(libc().socket(AF.UNIX, SOCKET_TYPE, 0), 'socket', `unix socket ${path}`)
}

function socketAddress(path: string): NativeBuffer {
  const bytes = Buffer.from(path)
  if (bytes.length === 0 || bytes.length > UNIX_PATH_BYTES_MAX || bytes.includes(0)) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'unix socket path',
      got: `${JSON.stringify(path)} (${bytes.length} bytes)`,
      expected: `1 to ${UNIX_PATH_BYTES_MAX} bytes, none of them zero`,
    })
  }
  const address = new NativeBuffer(SOCKADDR_UN.BYTES)
  address.u8[0] = AF.UNIX
  address.u8.set(bytes, SOCKADDR_UN.PATH)
  return address
}

function bindOrReplace(fd: number, path: string, address: NativeBuffer): void {
  const c = libc()
  if (c.bind(fd, address.address, SOCKADDR_UN.BYTES) === 0) return
  const errno = c.errno()
  if (errno !== ERRNO.EADDRINUSE) throw systemError('bind', `unix socket ${path}`, errno)
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found && !found.isSocket()) {
    const kind = found.isDirectory() ? 'a directory' : found.isSymbolicLink() ? 'a symbolic link' : 'a file'
    throw inUse(path, `there is ${kind} at this path, which we leave alone; choose another path`)
  }
  // Only a socket that nobody listens on refuses a connection; any other answer may come from a living owner.
  const refusal = probe(path, address)
  if (refusal === ERRNO.ECONNREFUSED) check(c.unlink(path), 'unlink', `stale unix socket ${path}`)
  else if (refusal !== ERRNO.ENOENT) {
    const seen =
      refusal === 0 || refusal === ERRNO.EAGAIN ? 'a process listens' : `${errnoName(refusal)} came`
    throw inUse(path, `${seen} on this socket; stop its owner or choose another path`)
  }
  if (c.bind(fd, address.address, SOCKADDR_UN.BYTES) === 0) return
  const again = c.errno()
  if (again === ERRNO.EADDRINUSE) throw inUse(path, 'another process has just taken it')
  throw systemError('bind', `unix socket ${path}`, again)
}

/** errno of a try to connect; 0 when somebody accepted. */
function probe(path: string, address: NativeBuffer): number {
  const c = libc()
  const fd = openSocket(path)
  const errno = c.connect(fd, address.address, SOCKADDR_UN.BYTES) === 0 ? 0 : c.errno()
  c.close(fd)
  return errno
}

function inUse(path: string, hint: string): FaultlaneError {
  return new FaultlaneError({ code: 'ADDRESS_IN_USE', url: `unix socket ${path}`, hint })
}

/**
 * Removes the file of a socket whose listener was killed, which could not do so itself; called by who was connected
 * to its process. Only if it is the socket that `identity` names, of the user `owner` where that is given, and nobody listens
 * on it. Moved away first: what stands at the path at the last moment may be a new listener's, which then is put back.
 * False: nothing is done, because somebody may still listen.
 */
export function removeDeadSocket(path: string, identity: string | undefined, owner?: number): boolean {
  const stat = statOf(path)
  if (!stat?.isSocket() || nameOf(stat) !== identity) return true
  if (owner !== undefined && stat.uid !== BigInt(owner)) return true
  if (probe(path, socketAddress(path)) !== ERRNO.ECONNREFUSED) return false
  const aside = `${path}.${libc().getpid()}-${libc().gettid()}`
  try {
    renameSync(path, aside)
    if (identityOf(aside) === identity) libc().unlink(aside)
    else renameSync(aside, path)
  } catch {
    // Its folder is not ours to write, or another was faster: whoever listens there next replaces it.
  }
  return true
}

/** Tells one file from another that is later put in its place; undefined when there is none. */
export function identityOf(path: string): string | undefined {
  const stat = statOf(path)
  return stat && nameOf(stat)
}

function statOf(path: string): BigIntStats | undefined {
  return lstatSync(path, { throwIfNoEntry: false, bigint: true })
}

function nameOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${birthtimeNs}`
}
