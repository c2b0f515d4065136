/**
 * One userfaultfd, from one thread's side: reading events and the ioctls that answer them. Each thread that
 * places pages has its own instance over the same file descriptor, because each has its own argument structs.
 *
 * Addresses belong to another process and may use all 64 bits, so they travel as (hi, lo) pairs of 32-bit
 * halves and never as numbers. See Documentation/admin-guide/mm/userfaultfd.rst.
 */
import { ERRNO, UFFD, UFFDIO } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { type Libc, libc } from '../native/libc.ts'

/** What a placing ioctl came to. Values ≥ 0 are bytes done. */
export const PLACE = {
  /** The mm is changing (a REMOVE event is unread): read the events, then try again. */
  AGAIN: -1,
  /** Somebody has mapped the page already. */
  EXISTS: -2,
  /** The client is gone (ESRCH). */
  GONE: -3,
  /** Anything else; see Userfaultfd.errno. */
  FAILED: -4,
  /** Not all of the range lies in one mapping of the client (ENOENT): it has unmapped some. */
  UNMAPPED: -5,
} as const

/** Events read in one system call. */
export const EVENTS_PER_READ = 64

/** The memory of one thread's calls; the next client's Userfaultfd may take it over. */
export class UserfaultfdBuffers {
  readonly events = new NativeBuffer(EVENTS_PER_READ * UFFD.MSG_BYTES)
  readonly arg = new NativeBuffer(64)
}

export class Userfaultfd {
  readonly fd: number
  /** errno of the last call that came to FAILED. */
  errno = 0
  /** The events of the last read: EVENTS_PER_READ × 32 bytes. */
  readonly events: NativeBuffer
  readonly #libc: Libc = libc()
  readonly #arg: NativeBuffer

  constructor(fd: number, buffers = new UserfaultfdBuffers()) {
    this.fd = fd
    this.events = buffers.events
    this.#arg = buffers.arg
  }

  /**
   * Reads what is there, without waiting and at most `eventsMax`, faults first: how many events now lie in `events`;
   * 0 when none; −1 when the descriptor is dead.
   */
  readEvents(eventsMax = EVENTS_PER_READ): number {
    const bytes = this.#libc.read(this.fd, this.events.address, eventsMax * UFFD.MSG_BYTES)
    if (bytes >= 0) return bytes / UFFD.MSG_BYTES
    const errno = this.#libc.errno()
    if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return 0
    this.errno = errno
    return -1
  }

  /** Copies `bytes` from our memory to (hi, lo) and wakes the waiters; bytes done (maybe fewer), or PLACE. */
  copy(hi: number, lo: number, from: number, bytes: number): number {
    const arg = this.#arg
    const u32 = arg.u32
    u32[0] = lo
    u32[1] = hi
    arg.setU64(8, from)
    arg.setU64(16, bytes)
    u32[6] = 0 // Mode: wake.
    u32[7] = 0
    u32[8] = 0
    u32[9] = 0
    if (this.#libc.ioctl(this.fd, UFFDIO.COPY, arg.address) === 0) return bytes
    return this.#partial(8, this.#libc.errno())
  }

  /** Maps zero pages over the range and wakes the waiters. Not for hugetlb. */
  zeropage(hi: number, lo: number, bytes: number): number {
    this.#range(hi, lo, bytes)
    const u32 = this.#arg.u32
    u32[4] = 0
    u32[5] = 0
    u32[6] = 0
    u32[7] = 0
    if (this.#libc.ioctl(this.fd, UFFDIO.ZEROPAGE, this.#arg.address) === 0) return bytes
    return this.#partial(6, this.#libc.errno())
  }

  /** Wakes whoever waits in the range, so that it looks again. */
  wake(hi: number, lo: number, bytes: number): number {
    this.#range(hi, lo, bytes)
    return this.#libc.ioctl(this.fd, UFFDIO.WAKE, this.#arg.address) === 0
      ? bytes
      : this.#classify(this.#libc.errno())
  }

  /** Gives the range back to the kernel: missing pages are zero from now on. Wakes whoever waits there. */
  unregister(hi: number, lo: number, bytes: number): number {
    this.#range(hi, lo, bytes)
    return this.#libc.ioctl(this.fd, UFFDIO.UNREGISTER, this.#arg.address) === 0
      ? bytes
      : this.#classify(this.#libc.errno())
  }

  /** True while the client is changing its memory: from before a removal can be read until its thread has woken. */
  isChanging(): boolean {
    // The kernel answers so before it looks at the range, which is nonsense here and changes nothing.
    this.#range(0, 1, 1)
    this.#arg.setU64(16, 0)
    return (
      this.#libc.ioctl(this.fd, UFFDIO.ZEROPAGE, this.#arg.address) !== 0 &&
      this.#libc.errno() === ERRNO.EAGAIN
    )
  }

  #range(hi: number, lo: number, bytes: number): void {
    const u32 = this.#arg.u32
    u32[0] = lo
    u32[1] = hi
    this.#arg.setU64(8, bytes)
  }

  /** The kernel reports partial work in the struct: bytes done, or a negative errno, or 0 with EAGAIN. */
  #partial(word: number, errno: number): number {
    const high = this.#arg.i32[word + 1] as number
    if (high >= 0) {
      const done = this.#arg.getU64(word * 4)
      if (done > 0) return done
    }
    return this.#classify(errno)
  }

  #classify(errno: number): number {
    this.errno = errno
    if (errno === ERRNO.EAGAIN) return PLACE.AGAIN
    if (errno === ERRNO.EEXIST) return PLACE.EXISTS
    if (errno === ERRNO.ESRCH || errno === ERRNO.EBADF) return PLACE.GONE
    if (errno === ERRNO.ENOENT) return PLACE.UNMAPPED
    return PLACE.FAILED
  }
}
