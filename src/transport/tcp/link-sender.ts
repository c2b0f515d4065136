/**
 * One connection's frames under way on an emulated link: taken in order, handed to the socket when they arrive.
 * Owned by the source's thread, as FrameSender is, in whose place it stands.
 */
import { ERRNO, MSG, MSGHDR } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { FRAME, FRAME_BYTES, FRAME_MAGIC } from './wire.ts'

/** Frames under way at most: 256 reads of a demand channel, and what one bulk read can be cut into beside them. */
const FRAMES_MAX = 1024
const FRAMES_PER_SEND = 32
const IOVEC_BYTES = 16

export class LinkSender {
  failedErrno = 0
  /** The socket took less than what has arrived: wait for room in it. */
  isBlocked = false
  readonly #libc: Libc = libc()
  readonly #fd: number
  readonly #headers = new NativeBuffer(FRAMES_MAX * FRAME_BYTES)
  readonly #addresses = new Float64Array(FRAMES_MAX)
  readonly #bytes = new Int32Array(FRAMES_MAX)
  readonly #arrivalNs = new Float64Array(FRAMES_MAX)
  readonly #iov = new NativeBuffer(FRAMES_PER_SEND * 2 * IOVEC_BYTES)
  readonly #message = new NativeBuffer(MSGHDR.BYTES)
  #head = 0
  #count = 0
  /** Bytes of the first frame that the socket has taken, its header included. */
  #headSent = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  get isFull(): boolean {
    return this.#count === FRAMES_MAX
  }

  get count(): number {
    return this.#count
  }

  /** When the first frame arrives; Infinity when none is under way. */
  get nextArrivalNs(): number {
    return this.#count === 0 ? Infinity : (this.#arrivalNs[this.#head] as number)
  }

  addFrame(
    slot: number,
    firstPage: number,
    pageCount: number,
    kind: number,
    address: number,
    bytes: number,
    arrivalNs: number,
  ): void {
    const at = (this.#head + this.#count++) % FRAMES_MAX
    const word = (at * FRAME_BYTES) >> 2
    const u32 = this.#headers.u32
    u32[word + FRAME.WORK_ID] = slot
    u32[word + FRAME.FIRST_PAGE] = firstPage
    u32[word + FRAME.PAGE_COUNT] = pageCount
    u32[word + FRAME.KIND] = FRAME_MAGIC | kind
    this.#addresses[at] = address
    this.#bytes[at] = bytes
    this.#arrivalNs[at] = arrivalNs
  }

  /** Hands what has arrived to the socket, without waiting: bytes it took. */
  send(nowNs: number): number {
    let vectors = 0
    let due = 0
    for (let n = 0; n < this.#count && n < FRAMES_PER_SEND; n++) {
      const at = (this.#head + n) % FRAMES_MAX
      if ((this.#arrivalNs[at] as number) > nowNs) break
      const skip = n === 0 ? this.#headSent : 0
      const bytes = this.#bytes[at] as number
      if (skip < FRAME_BYTES) {
        vectors = this.#addVector(
          vectors,
          this.#headers.address + at * FRAME_BYTES + skip,
          FRAME_BYTES - skip,
        )
      }
      const done = Math.max(0, skip - FRAME_BYTES)
      if (bytes > done)
        vectors = this.#addVector(vectors, (this.#addresses[at] as number) + done, bytes - done)
      due += FRAME_BYTES + bytes - skip
    }
    if (due === 0) return 0
    const message = this.#message
    message.setU64(MSGHDR.IOV, this.#iov.address)
    message.setU64(MSGHDR.IOVLEN, vectors)
    const sent = this.#libc.sendmsg(this.#fd, message.address, MSG.DONTWAIT | MSG.NOSIGNAL)
    if (sent < 0) {
      const errno = this.#libc.errno()
      if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) this.failedErrno = errno
      this.isBlocked = true
      return 0
    }
    this.isBlocked = sent < due
    this.#forget(sent)
    return sent
  }

  #addVector(index: number, address: number, bytes: number): number {
    this.#iov.setU64(index * IOVEC_BYTES, address)
    this.#iov.setU64(index * IOVEC_BYTES + 8, bytes)
    return index + 1
  }

  #forget(sent: number): void {
    this.#headSent += sent
    while (this.#count > 0) {
      const whole = FRAME_BYTES + (this.#bytes[this.#head] as number)
      if (this.#headSent < whole) return
      this.#headSent -= whole
      this.#head = (this.#head + 1) % FRAMES_MAX
      this.#count--
    }
  }
}
