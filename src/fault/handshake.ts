/**
 * The receiving side of a handshake on one accepted connection, stepwise and never waiting: the demand agent's
 * thread owns it and calls step() when the socket is readable, and now and then for the deadline.
 *
 * It owns the socket and every descriptor that comes. A finished handshake hands the socket and one userfaultfd
 * over; any failure has closed them all before it is thrown.
 */
import type { Clock } from '../clock.ts'
import { ERRNO, FCNTL, MSG, OPEN, POLL } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'
import { PollSet } from '../native/poll-set.ts'
import { DescriptorMessages, PEER_BYTES, peerPid, WOULD_BLOCK } from '../native/unix-socket.ts'
import { BodyCollector, type HandshakeBody, handshakeError, parseHandshake } from './handshake-parse.ts'

export interface Handshake extends HandshakeBody {
  /** Non-blocking, ready to be read. */
  readonly userfaultfd: number
  /** Still open: its end of stream says that the client is gone; see isClientGone(). */
  readonly socket: number
  readonly clientPid: number
}

/** From accept to the last part; a living client sends all of it in one call. */
export const HANDSHAKE_MS_MAX = 2000

const READ_BYTES = 64 << 10
/** For a peer's credentials, and for what a descriptor is called. */
const SCRATCH_BYTES = Math.max(PEER_BYTES, 256)
/** Reads of one step: bounds a step against a client that sends without end, byte by byte. */
const READS_PER_STEP_MAX = 16

/** Made before there is a client, because making its buffers takes longer than the handshake; then begin(), once. */
export class HandshakeReceiver {
  readonly #imageBytes: number
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #ready = new PollSet(1)
  #socket = -1
  #deadlineNs = 0
  readonly #messages = new DescriptorMessages()
  readonly #buffer = new NativeBuffer(READ_BYTES)
  readonly #scratch = new NativeBuffer(SCRATCH_BYTES)
  readonly #body = new BodyCollector()
  #userfaultfd = -1
  /** What the first descriptor that is no userfaultfd turned out to be. */
  #otherDescriptor = ''
  #parsed: HandshakeBody | undefined
  #open = false

  /** `imageBytes` is what the regions have to lie in. */
  constructor(imageBytes: number, clock: Clock, timeoutMs = HANDSHAKE_MS_MAX) {
    this.#imageBytes = imageBytes
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /** The client's socket; −1 before begin(). */
  get socket(): number {
    return this.#socket
  }

  /** Takes the socket over. */
  begin(socket: number): void {
    this.#socket = socket
    this.#open = true
    this.#deadlineNs = this.#clock.nowNs() + this.#timeoutMs * 1e6
  }

  /** Takes what has come. Throws HANDSHAKE, and then all is closed. Not to be called after it has ended. */
  step(): 'waiting' | Handshake {
    try {
      for (let reads = 0; reads < READS_PER_STEP_MAX; reads++) {
        const more = this.#receive()
        const body = this.#parsed
        if (body && this.#userfaultfd !== -1) return this.#finish(body)
        if (body && this.#otherDescriptor !== '') {
          throw handshakeError(`the descriptor that came is ${this.#otherDescriptor}, not a userfaultfd`)
        }
        if (!more) break
      }
      if (this.#clock.nowNs() >= this.#deadlineNs) throw handshakeError(`${this.#missing()} in time`)
      return 'waiting'
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Gives up; safe more than once, and after a finished handshake it closes nothing. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    libc().close(this.#socket)
    if (this.#userfaultfd !== -1) libc().close(this.#userfaultfd)
    this.#userfaultfd = -1
  }

  /** One read; false when nothing is there now. */
  #receive(): boolean {
    const fds: number[] = []
    let received: number
    try {
      received = this.#messages.receive(this.#socket, this.#buffer.address, READ_BYTES, fds)
    } finally {
      for (const fd of fds) this.#sort(fd)
    }
    if (received === WOULD_BLOCK) return false
    if (received === 0) throw handshakeError(`the client hung up: ${this.#missing()}`)
    if (this.#body.add(this.#buffer.u8.subarray(0, received)) && !this.#parsed) {
      this.#parsed = parseHandshake(this.#body.text(), this.#imageBytes)
    }
    return true
  }

  /** Keeps the first userfaultfd and closes everything else: some clients send their memory's memfd along. */
  #sort(fd: number): void {
    const what = describe(fd, this.#scratch)
    if (what === 'anon_inode:[userfaultfd]') {
      if (this.#userfaultfd === -1) {
        this.#userfaultfd = fd
        return
      }
    } else this.#otherDescriptor ||= what
    libc().close(fd)
  }

  #finish(body: HandshakeBody): Handshake {
    const userfaultfd = this.#userfaultfd
    const c = libc()
    const flags = check(c.fcntl(userfaultfd, FCNTL.GETFL, 0), 'fcntl(F_GETFL)', 'the userfaultfd')
    check(c.fcntl(userfaultfd, FCNTL.SETFL, flags | OPEN.NONBLOCK), 'fcntl(F_SETFL)', 'the userfaultfd')
    // A userfaultfd that was never initialised (UFFDIO_API) answers poll with POLLERR and read with EINVAL.
    const ready = this.#ready
    ready.set(0, userfaultfd, POLL.IN)
    ready.wait(0)
    if ((ready.revents(0) & POLL.ERR) !== 0) throw handshakeError('its userfaultfd has not been initialised')
    const clientPid = peerPid(this.#socket, this.#scratch)
    this.#open = false
    return {
      regions: body.regions,
      pageSize: body.pageSize,
      userfaultfd,
      socket: this.#socket,
      clientPid,
    }
  }

  #missing(): string {
    const got = this.#parsed || this.#body.length > 0 ? `${this.#body.length} bytes` : 'no body'
    if (this.#parsed) return 'the body came without a userfaultfd'
    return `the body is not complete (${got} came)`
  }
}

/** What /proc calls a descriptor, cut to the scratch memory. By the system call: Node's own road takes 250 µs. */
function describe(fd: number, scratch: NativeBuffer): string {
  const length = libc().readlink(`/proc/self/fd/${fd}`, scratch.address, scratch.bytes)
  if (length < 0) return 'of a kind that only /proc would tell'
  return String.fromCharCode(...scratch.u8.subarray(0, length))
}

/** Whether the client has hung up. Takes and drops whatever it sends after its handshake, at most one buffer. */
export function isClientGone(socket: number, scratch: NativeBuffer): boolean {
  const received = libc().recv(socket, scratch.address, scratch.bytes, MSG.DONTWAIT)
  if (received > 0) return false
  if (received === 0) return true
  const errno = libc().errno()
  return errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR
}
