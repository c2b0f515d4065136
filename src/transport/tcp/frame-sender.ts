/**
 * Gathers reply frames and sends them with one sendmsg: headers from our memory, pages straight from the mapped
 * image. What the socket does not take now stays until it does; nothing new is begun before that.
 */
import { ERRNO, MSG, MSGHDR } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { FRAME, FRAME_BYTES, FRAME_MAGIC } from './wire.ts'

const IOVEC_BYTES = 16

export class FrameSender {
  readonly #libc: Libc = libc()
  readonly #fd: number
  readonly #framesMax: number
  readonly #headers: NativeBuffer
  readonly #iov: NativeBuffer
  readonly #message = new NativeBuffer(MSGHDR.BYTES)
  #frames = 0
  #iovBegin = 0
  #iovEnd = 0
  /** Bytes gathered and not sent yet. */
  pendingBytes = 0
  /** errno of a send that failed for good; 0 while the connection is well. */
  failedErrno = 0

  constructor(fd: number, framesMax: number) {
    this.#fd = fd
    this.#framesMax = framesMax
    this.#headers = new NativeBuffer(framesMax * FRAME_BYTES)
    this.#iov = new NativeBuffer((framesMax * 2 + 2) * IOVEC_BYTES)
  }

  get isFull(): boolean {
    return this.#frames === this.#framesMax
  }

  addFrame(
    slot: number,
    firstPage: number,
    pageCount: number,
    kind: number,
    address: number,
    bytes: number,
  ): void {
    const at = this.#frames++ * FRAME_BYTES
    const u32 = this.#headers.u32
    const word = at >> 2
    u32[word + FRAME.WORK_ID] = slot
    u32[word + FRAME.FIRST_PAGE] = firstPage
    u32[word + FRAME.PAGE_COUNT] = pageCount
    u32[word + FRAME.KIND] = FRAME_MAGIC | kind
    this.addBytes(this.#headers.address + at, FRAME_BYTES)
    if (bytes > 0) this.addBytes(address, bytes)
  }

  /** Raw bytes that stay where they are until they are sent. */
  addBytes(address: number, bytes: number): void {
    const at = this.#iovEnd++ * IOVEC_BYTES
    this.#iov.setU64(at, address)
    this.#iov.setU64(at + 8, bytes)
    this.pendingBytes += bytes
  }

  /** Sends what it can without waiting: bytes sent. Zero with `failedErrno` set when the connection is dead. */
  send(): number {
    if (this.pendingBytes === 0) return 0
    const message = this.#message
    message.setU64(MSGHDR.IOV, this.#iov.address + this.#iovBegin * IOVEC_BYTES)
    message.setU64(MSGHDR.IOVLEN, this.#iovEnd - this.#iovBegin)
    const sent = this.#libc.sendmsg(this.#fd, message.address, MSG.DONTWAIT | MSG.NOSIGNAL)
    if (sent < 0) {
      const errno = this.#libc.errno()
      if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) this.failedErrno = errno
      return 0
    }
    this.pendingBytes -= sent
    if (this.pendingBytes === 0) {
      this.#frames = 0
      this.#iovBegin = 0
      this.#iovEnd = 0
      return sent
    }
    for (let left = sent; left > 0; ) {
      const at = this.#iovBegin * IOVEC_BYTES
      const bytes = this.#iov.getU64(at + 8)
      if (bytes <= left) {
        left -= bytes
        this.#iovBegin++
      } else {
        this.#iov.setU64(at, this.#iov.getU64(at) + left)
        this.#iov.setU64(at + 8, bytes - left)
        left = 0
      }
    }
    return sent
  }
}
