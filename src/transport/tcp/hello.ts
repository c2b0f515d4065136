/** The destination's half of the opening exchange: says what it wants, learns what the source has. Blocks, bounded. */
import { FaultlaneError } from '../../errors.ts'
import { ERRNO, errnoName, MSG, POLL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { libc } from '../../native/libc.ts'
import { PollSet } from '../../native/poll-set.ts'
import type { ImageInfo } from '../transport.ts'
import {
  EXTENTS_UNKNOWN,
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  STATUS,
  WELCOME,
  WELCOME_BYTES,
  WELCOME_MAGIC,
  WIRE_VERSION,
} from './wire.ts'

/** The magic, and as much again to show what came instead. */
const FIRST_BYTES = 8
/** Data extents beyond this are refused as nonsense: the source sends 2^20 at most. */
const EXTENT_PAIRS_MAX = 1 << 20
/** Page numbers are int32. */
const PAGES_MAX = 2 ** 31 - 1

export function exchangeHello(
  fd: number,
  url: string,
  lane: keyof typeof LANE_CODE,
  pageBytes: number,
  timeoutMs: number,
): ImageInfo {
  const hello = new NativeBuffer(HELLO_BYTES)
  hello.u32[HELLO.MAGIC] = HELLO_MAGIC
  hello.u32[HELLO.VERSION] = WIRE_VERSION
  hello.u32[HELLO.LANE] = LANE_CODE[lane]
  hello.u32[HELLO.PAGE_BYTES] = pageBytes
  const deadline = performance.now() + timeoutMs
  if (libc().send(fd, hello.address, HELLO_BYTES, MSG.NOSIGNAL) !== HELLO_BYTES) {
    throw new FaultlaneError({ code: 'CONNECT_FAILED', url, reason: `hello: ${errnoName(libc().errno())}` })
  }
  const welcome = new NativeBuffer(WELCOME_BYTES)
  // A peer that says another first word may never say as many.
  receiveAll(fd, url, welcome, 0, FIRST_BYTES, deadline)
  const word = (index: number) => welcome.u32[index] as number
  const peer = `the source at ${url}`
  if (word(WELCOME.MAGIC) !== WELCOME_MAGIC) {
    const got = `first bytes ${[...welcome.u8.subarray(0, FIRST_BYTES)].map((b) => b.toString(16).padStart(2, '0')).join(' ')}`
    throw new FaultlaneError({ code: 'PROTOCOL', peer, got, expected: 'the welcome of a Faultlane source' })
  }
  receiveAll(fd, url, welcome, FIRST_BYTES, WELCOME_BYTES, deadline)
  const status = word(WELCOME.STATUS)
  if (status === STATUS.BAD_VERSION || word(WELCOME.VERSION) !== WIRE_VERSION) {
    throw new FaultlaneError({
      code: 'VERSION_MISMATCH',
      peer,
      got: word(WELCOME.VERSION),
      expected: WIRE_VERSION,
    })
  }
  const bytes = word(WELCOME.BYTES_HIGH) * 0x1_0000_0000 + word(WELCOME.BYTES_LOW)
  if (status !== STATUS.OK) {
    throw new FaultlaneError({
      code: 'GEOMETRY_MISMATCH',
      what: `page size asked of ${peer}`,
      got: `${pageBytes} bytes`,
      expected: `a power of two from 4096 that divides the image's ${bytes} bytes`,
    })
  }
  const pageCount = bytes / pageBytes
  if (
    pageCount < 1 ||
    pageCount > PAGES_MAX ||
    !Number.isInteger(pageCount) ||
    word(WELCOME.PAGE_BYTES) !== pageBytes
  ) {
    const got = `an image of ${bytes} bytes in pages of ${word(WELCOME.PAGE_BYTES)}`
    throw new FaultlaneError({
      code: 'PROTOCOL',
      peer,
      got,
      expected: `1 to ${PAGES_MAX} pages of ${pageBytes}`,
    })
  }
  const pairs = word(WELCOME.EXTENT_PAIRS)
  let dataExtents: Uint32Array | null = null
  if (lane === 'describe' && pairs !== EXTENTS_UNKNOWN) {
    if (pairs > EXTENT_PAIRS_MAX) {
      throw new FaultlaneError({
        code: 'PROTOCOL',
        peer,
        got: `${pairs} extents`,
        expected: `${EXTENT_PAIRS_MAX} at most`,
      })
    }
    const buffer = new NativeBuffer(Math.max(8, pairs * 8))
    receiveAll(fd, url, buffer, 0, pairs * 8, deadline)
    dataExtents = new Uint32Array(buffer.u32.subarray(0, pairs * 2))
    if (!areExtents(dataExtents, pageCount)) {
      const expected = `ascending runs of pages below ${pageCount}`
      throw new FaultlaneError({ code: 'PROTOCOL', peer, got: 'extents that are none', expected })
    }
  }
  const hex = (index: number) => word(index).toString(16).padStart(8, '0')
  const imageId = hex(WELCOME.IMAGE_HIGH) + hex(WELCOME.IMAGE_LOW)
  // A quotient is no small integer to the engine, whatever its value, and is looked at with every read.
  return { imageId, pageSize: pageBytes, pageCount: pageCount | 0, dataExtents }
}

function areExtents(pairs: Uint32Array, pageCount: number): boolean {
  let end = 0
  for (let i = 0; i < pairs.length; i += 2) {
    const first = pairs[i] as number
    const pages = pairs[i + 1] as number
    if (first < end || pages === 0 || first + pages > pageCount) return false
    end = first + pages
  }
  return true
}

/** Fills `into` from byte `begin` to byte `bytes`. */
function receiveAll(
  fd: number,
  url: string,
  into: NativeBuffer,
  begin: number,
  bytes: number,
  deadline: number,
): void {
  const poll = new PollSet(1)
  for (let got = begin; got < bytes; ) {
    const result = libc().recv(fd, into.address + got, bytes - got, MSG.DONTWAIT)
    if (result > 0) {
      got += result
      continue
    }
    const errno = result === 0 ? 0 : libc().errno()
    if (result === 0 || (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR)) {
      const how = result === 0 ? 'closed the connection' : `failed with ${errnoName(errno)}`
      throw new FaultlaneError({
        code: 'PROTOCOL',
        peer: `the peer at ${url}`,
        got: `${got} of ${bytes} bytes before it ${how}`,
        expected: 'a whole welcome',
      })
    }
    poll.set(0, fd, POLL.IN)
    if (
      poll.wait(Math.max(0, Math.ceil(deadline - performance.now()))) === 0 &&
      performance.now() >= deadline
    ) {
      throw new FaultlaneError({
        code: 'CONNECT_FAILED',
        url,
        reason: `no welcome in time (${got} of ${bytes} bytes came)`,
      })
    }
  }
}
