/** The destination's half of the opening exchange: learns what the source has and receives it. Blocks, bounded. */
import { FaultlaneError } from '../../errors.ts'
import { EXTENTS_MAX, extentsInPages } from '../../memory/image.ts'
import { ERRNO, errnoName, MSG, POLL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { libc } from '../../native/libc.ts'
import { PollSet } from '../../native/poll-set.ts'
import {
  connectUnix,
  DescriptorMessages,
  identityOf,
  removeDeadSocket,
  WOULD_BLOCK,
} from '../../native/unix-socket.ts'
import type { ImageInfo } from '../transport.ts'
import { readExtents } from './extents.ts'
import {
  EXTENTS_UNKNOWN,
  HELLO,
  HELLO_BYTES,
  LANE_CODE,
  pathOfUrl,
  SHARE_VERSION,
  type ShareProtocol,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
} from './wire.ts'

const UNIT_BYTES = 4096
/** Between two tries to connect while the source's backlog is full. */
const RETRY_MS = 5

/** By path: the socket's file through which this thread was connected last; a killed source leaves it behind. */
const listeners = new Map<string, string | undefined>()

/** An open connection; whoever has it closes all descriptors. */
export interface Greeted {
  readonly info: ImageInfo
  readonly bytes: number
  /** Runs of data in 4 KiB pages, whatever the page size of the session. */
  readonly extents: Uint32Array | null
  readonly socket: number
  /** The source's socket file, and which one it was. */
  readonly path: string
  readonly listener: string | undefined
  readonly imageFd: number
  /** What the transport adds, in its order. */
  readonly extraFds: readonly number[]
}

export function greet(
  protocol: ShareProtocol,
  url: string,
  lane: keyof typeof LANE_CODE,
  pageBytes: number,
  timeoutMs: number,
): Greeted {
  const deadline = performance.now() + timeoutMs
  const path = pathOfUrl(url, protocol)
  const socket = connect(path, url, deadline)
  const listener = identityOf(path)
  listeners.set(path, listener)
  const fds: number[] = []
  try {
    const hello = new NativeBuffer(HELLO_BYTES)
    hello.u32[HELLO.MAGIC] = protocol.helloMagic
    hello.u32[HELLO.VERSION] = SHARE_VERSION
    hello.u32[HELLO.LANE] = LANE_CODE[lane]
    hello.u32[HELLO.PAGE_BYTES] = pageBytes
    if (libc().send(socket, hello.address, HELLO_BYTES, MSG.NOSIGNAL) !== HELLO_BYTES) {
      throw unreachable(url, `hello: ${errnoName(libc().errno())}`)
    }
    const welcome = new NativeBuffer(WELCOME_BYTES)
    receiveWelcome(url, socket, welcome, fds, deadline)
    return { ...readWelcome(protocol, url, pageBytes, welcome, fds, socket), path, listener }
  } catch (error) {
    libc().close(socket)
    for (const fd of fds) libc().close(fd)
    removeDeadSocket(path, listener) // If the source was killed before it had answered.
    throw error
  }
}

export function closeGreeted({ socket, imageFd, extraFds }: Greeted): void {
  for (const fd of [socket, imageFd, ...extraFds]) libc().close(fd)
}

function connect(path: string, url: string, deadline: number): number {
  for (;;) {
    try {
      return connectUnix(path)
    } catch (cause) {
      const failure = (cause as FaultlaneError).failure
      if (failure?.code !== 'SYSTEM') throw cause
      if (failure.errno === ERRNO.ECONNREFUSED) removeDeadSocket(path, listeners.get(path))
      if (failure.errno !== ERRNO.EAGAIN || performance.now() >= deadline) {
        throw unreachable(url, `${failure.call}: ${failure.name}`, cause)
      }
      new PollSet(1).wait(RETRY_MS)
    }
  }
}

function receiveWelcome(
  url: string,
  socket: number,
  into: NativeBuffer,
  fds: number[],
  deadline: number,
): void {
  const messages = new DescriptorMessages()
  const poll = new PollSet(1)
  for (let got = 0; got < WELCOME_BYTES; ) {
    const result = messages.receive(socket, into.address + got, WELCOME_BYTES - got, fds)
    if (result === 0) {
      throw nonsense(
        url,
        `${got} of ${WELCOME_BYTES} bytes before it closed the connection`,
        'a whole welcome',
      )
    }
    if (result !== WOULD_BLOCK) {
      got += result
      continue
    }
    const leftMs = Math.ceil(deadline - performance.now())
    if (leftMs <= 0) throw unreachable(url, `no welcome in time (${got} of ${WELCOME_BYTES} bytes came)`)
    poll.set(0, socket, POLL.IN)
    poll.wait(leftMs)
  }
}

function readWelcome(
  protocol: ShareProtocol,
  url: string,
  pageBytes: number,
  welcome: NativeBuffer,
  fds: readonly number[],
  socket: number,
): Omit<Greeted, 'path' | 'listener'> {
  const word = (index: number) => welcome.u32[index] as number
  if (word(WELCOME.MAGIC) !== protocol.welcomeMagic) {
    const first = [...welcome.u8.subarray(0, 8)].map((b) => b.toString(16).padStart(2, '0')).join(' ')
    throw nonsense(url, `first bytes ${first}`, 'the welcome of a Faultlane source')
  }
  const status = word(WELCOME.STATUS)
  if (status === STATUS.BAD_VERSION || word(WELCOME.VERSION) !== SHARE_VERSION) {
    const got = word(WELCOME.VERSION)
    throw new FaultlaneError({ code: 'VERSION_MISMATCH', peer: peerName(url), got, expected: SHARE_VERSION })
  }
  const bytes = welcome.getU64(WELCOME.BYTES_LOW * 4)
  if (status === STATUS.BAD_PAGE_SIZE) {
    throw new FaultlaneError({
      code: 'GEOMETRY_MISMATCH',
      what: `page size asked of ${peerName(url)}`,
      got: `${pageBytes} bytes`,
      expected: `a power of two from 4096 that divides the image's ${bytes} bytes`,
    })
  }
  if (status !== STATUS.OK) throw nonsense(url, `status ${status}`, 'a status of this version')
  const pairs = word(WELCOME.EXTENT_PAIRS)
  const isKnown = pairs !== EXTENTS_UNKNOWN
  const expected = (isKnown ? 2 : 1) + protocol.extraFds
  if (fds.length !== expected) throw nonsense(url, `${fds.length} descriptors`, `${expected}`)
  if (isKnown && pairs > EXTENTS_MAX) throw nonsense(url, `${pairs} extents`, `${EXTENTS_MAX} at most`)
  if (bytes === 0 || bytes % pageBytes !== 0 || !Number.isSafeInteger(bytes)) {
    throw nonsense(url, `an image of ${bytes} bytes`, `a multiple of ${pageBytes}`)
  }
  const imageFd = fds[0] as number
  const extentsFd = fds[1] as number
  const extents = isKnown ? readExtents(extentsFd, pairs, bytes / UNIT_BYTES, peerName(url)) : null
  if (isKnown) libc().close(extentsFd)
  const hex = (index: number) => word(index).toString(16).padStart(8, '0')
  const info: ImageInfo = {
    imageId: hex(WELCOME.IMAGE_HIGH) + hex(WELCOME.IMAGE_LOW),
    pageSize: pageBytes,
    pageCount: bytes / pageBytes,
    dataExtents: extentsInPages(extents, pageBytes),
  }
  return { info, bytes, extents, socket, imageFd, extraFds: fds.slice(isKnown ? 2 : 1) }
}

function peerName(url: string): string {
  return `the source at ${url}`
}

function nonsense(url: string, got: string, expected: string): FaultlaneError {
  return new FaultlaneError({ code: 'PROTOCOL', peer: peerName(url), got, expected })
}

function unreachable(url: string, reason: string, cause?: unknown): FaultlaneError {
  return new FaultlaneError({ code: 'CONNECT_FAILED', url, reason }, { cause })
}
