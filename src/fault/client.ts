/**
 * A client of our own: memory of this process that a fault handler fills, as a virtual machine monitor sets it up.
 * Tests, benches and the demo fault through it; any of its options can be what a client in the field really does.
 *
 * A load from a missing page stops the thread that makes it, whole: touch the memory only from threads whose
 * standing still the handler does not depend on.
 */
import { FaultlaneError } from '../errors.ts'
import { MADV, MAP, MAP_FAILED, POLL, PROT } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc, systemError, viewOf } from '../native/libc.ts'
import { PollSet } from '../native/poll-set.ts'
import { connectUnix, DescriptorMessages, WOULD_BLOCK } from '../native/unix-socket.ts'
import { encodeHandshake, type HandshakeDialect, type RegionToSend } from './handshake-parse.ts'
import { type OpenedUserfaultfd, openUserfaultfd, registerMissing } from './userfaultfd-open.ts'

export interface FaultClientOptions {
  readonly socketPath: string
  readonly bytes: number
  /** Memory of so many bytes that the caller has reserved (reserveMemory) and that is the client’s once it has been made. Default: its own. */
  readonly address?: number
  /** Regions of equal size that the handshake names; the last takes the remainder. Default: 1. */
  readonly regions?: number
  /** 2 MiB pages of hugetlb; the system must have some reserved. */
  readonly hugePages?: boolean
  /** Leaves faults of the kernel itself out: needs no privilege. */
  readonly userModeOnly?: boolean
  readonly dialect?: HandshakeDialect
  /** Messages that the body is cut into. Default: 1. */
  readonly pieces?: number
  /** Time between two messages. */
  readonly pauseMs?: number
  /** The message that carries the userfaultfd: one of the body's, or one of its own after them. */
  readonly descriptorWith?: 'first' | 'last' | 'none'
  /** Descriptors sent beside the userfaultfd that mean nothing to the handler. */
  readonly extraDescriptors?: number
}

/** Longest wait for room in the handler's socket. */
const SEND_MS_MAX = 2000
const HUGE_PAGE_BYTES = 2 << 20

export class FaultClient {
  readonly bytes: number
  readonly pageSize: number
  /** Of the memory: any thread of this process may view it there (viewOf) and fault. */
  readonly address: number
  readonly userfaultfd: OpenedUserfaultfd
  readonly #socket: number
  #closed = false
  #isLetGo = false

  /** Sets the memory up, connects, and sends the handshake. Throws SYSTEM and NO_USERFAULTFD, and leaves nothing behind. */
  constructor(options: FaultClientOptions) {
    this.bytes = options.bytes
    this.pageSize = options.hugePages ? HUGE_PAGE_BYTES : 4096
    if (options.bytes <= 0 || options.bytes % this.pageSize !== 0) {
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: 'memory of the client',
        got: `${options.bytes} bytes`,
        expected: `a positive multiple of ${this.pageSize}`,
      })
    }
    this.userfaultfd = openUserfaultfd(undefined, options.userModeOnly)
    let address = 0
    let socket = -1
    try {
      if (options.address === undefined) address = mapMemory(options.bytes, options.hugePages ?? false)
      this.address = options.address ?? address
      registerMissing(this.userfaultfd.fd, this.address, options.bytes)
      socket = connectUnix(options.socketPath)
      this.#socket = socket
      this.#sendHandshake(options)
    } catch (error) {
      if (socket !== -1) libc().close(socket)
      if (address !== 0) libc().munmap(address, options.bytes)
      libc().close(this.userfaultfd.fd)
      throw error
    }
  }

  /** The memory as this thread sees it; never touch it after close(). */
  view(): ArrayBuffer {
    return viewOf(this.address, this.bytes)
  }

  /** Gives pages back, as a balloon does. Waits until the handler has read the event: not from the handler's thread. */
  discard(offset: number, bytes: number): void {
    check(libc().madvise(this.address + offset, bytes, MADV.DONTNEED), 'madvise', 'the memory of the client')
  }

  /**
   * Turns the memory into ordinary memory once the handler has let go too: whoever stands in a missing page then
   * reads zeros and runs on. For a handler that has died; its threads could not be ended otherwise.
   */
  letGo(): void {
    if (this.#isLetGo || this.#closed) return
    this.#isLetGo = true
    libc().close(this.userfaultfd.fd)
  }

  /** Takes the memory away and hangs up. No thread may stand in it or touch it any more. Safe more than once. */
  close(): void {
    if (this.#closed) return
    libc().munmap(this.address, this.bytes)
    this.letGo()
    this.#closed = true
    libc().close(this.#socket)
  }

  #sendHandshake(options: FaultClientOptions): void {
    const regions = cutRegions(this.address, options.bytes, options.regions ?? 1, this.pageSize)
    const body = Buffer.from(encodeHandshake(regions, this.pageSize, options.dialect))
    const pieceCount = Math.min(options.pieces ?? 1, body.length)
    const carrier =
      options.descriptorWith === 'none' ? pieceCount : options.descriptorWith === 'last' ? pieceCount - 1 : 0
    const extra = new Array<number>(options.extraDescriptors ?? 0).fill(this.#socket)
    const descriptors = [this.userfaultfd.fd, ...extra]
    for (let i = 0; i < pieceCount; i++) {
      const start = Math.floor((i * body.length) / pieceCount)
      const end = Math.floor(((i + 1) * body.length) / pieceCount)
      this.#send(body.subarray(start, end), i === carrier ? descriptors : [])
      if (options.pauseMs) sleep(options.pauseMs)
    }
    // A descriptor cannot travel without a byte.
    if (carrier === pieceCount) this.#send(Buffer.from('\0'), descriptors)
  }

  #send(bytes: Uint8Array, fds: readonly number[]): void {
    const messages = new DescriptorMessages()
    const buffer = new NativeBuffer(bytes.length)
    buffer.u8.set(bytes)
    const room = new PollSet(1)
    room.set(0, this.#socket, POLL.OUT)
    for (let at = 0; at < bytes.length; ) {
      const left = bytes.length - at
      const sent = messages.send(this.#socket, buffer.address + at, left, at === 0 ? fds : [])
      if (sent !== WOULD_BLOCK) at += sent
      else if (room.wait(SEND_MS_MAX) === 0) {
        throw new FaultlaneError({
          code: 'CHANNEL_CLOSED',
          channel: 'handshake',
          reason: `the handler took nothing for ${SEND_MS_MAX} ms`,
          inFlight: 0,
        })
      }
    }
  }
}

/** Memory for a client to come, at an address that is known before: ordinary, until a client is made of it. Throws SYSTEM. */
export function reserveMemory(bytes: number): number {
  return mapMemory(bytes, false)
}

function mapMemory(bytes: number, hugePages: boolean): number {
  // Huge pages are reserved here, or the system says that it has none; later it could only kill the toucher.
  const kind = hugePages ? MAP.HUGETLB | MAP.HUGE_2MB : MAP.NORESERVE
  const flags = MAP.PRIVATE | MAP.ANONYMOUS | kind
  const address = libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0)
  if (address === MAP_FAILED)
    throw systemError('mmap', `${bytes} bytes of ${hugePages ? 'hugetlb ' : ''}memory`)
  return address
}

/** Equal spans of whole pages, side by side. */
function cutRegions(address: number, bytes: number, count: number, pageSize: number): RegionToSend[] {
  const pages = bytes / pageSize
  return Array.from({ length: count }, (_, i) => {
    const offset = Math.floor((i * pages) / count) * pageSize
    const end = Math.floor(((i + 1) * pages) / count) * pageSize
    return { base: BigInt(address + offset), bytes: end - offset, offset }
  })
}

const never = new Int32Array(new SharedArrayBuffer(4))
function sleep(ms: number): void {
  Atomics.wait(never, 0, 0, ms)
}
