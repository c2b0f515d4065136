/** The file descriptors a thread sleeps on: a fixed array of struct pollfd, filled once and kept. */
import { ERRNO, POLLFD_BYTES } from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { type Libc, libc, systemError } from './libc.ts'

export class PollSet {
  readonly #libc: Libc = libc()
  readonly #fds: NativeBuffer
  /** struct timespec of a wait that is no whole number of milliseconds. */
  readonly #timeout = new NativeBuffer(16)
  #count = 0

  constructor(slotsMax: number) {
    this.#fds = new NativeBuffer(slotsMax * POLLFD_BYTES)
  }

  /** Sets slot `slot` to wait for `events` on `fd`; fd −1 leaves the slot out. */
  set(slot: number, fd: number, events: number): void {
    this.#fds.i32[slot * 2] = fd
    this.#fds.i16[slot * 4 + 2] = events
    this.#fds.i16[slot * 4 + 3] = 0
    if (slot >= this.#count) this.#count = slot + 1
  }

  /** Forgets the slots from `count` on. */
  truncate(count: number): void {
    this.#count = count
  }

  /** What poll(2) found for the slot; 0 when nothing. */
  revents(slot: number): number {
    return this.#fds.i32[slot * 2] === -1 ? 0 : (this.#fds.i16[slot * 4 + 3] as number)
  }

  /** Sleeps until something is ready or the time is over; how many are ready. A signal counts as 0. */
  wait(timeoutMs: number): number {
    const ready = Number.isInteger(timeoutMs)
      ? this.#libc.poll(this.#fds.address, this.#count, timeoutMs)
      : this.#waitFraction(timeoutMs)
    if (ready >= 0) return ready
    for (let slot = 0; slot < this.#count; slot++) this.#fds.i16[slot * 4 + 3] = 0
    const errno = this.#libc.errno()
    if (errno !== ERRNO.EINTR) throw systemError('poll', 'poll set', errno)
    return 0
  }

  #waitFraction(timeoutMs: number): number {
    const seconds = Math.floor(timeoutMs / 1000)
    this.#timeout.setU64(0, seconds)
    this.#timeout.setU64(8, Math.floor((timeoutMs - seconds * 1000) * 1e6))
    return this.#libc.ppoll(this.#fds.address, this.#count, this.#timeout.address, 0)
  }
}

const NAP_MS = 0.01

/** Puts the calling thread to sleep for 10 µs and what its timers' slack adds, 50 µs unless set otherwise. One per thread. */
export function makeNap(): () => void {
  const nothing = new PollSet(1)
  return () => {
    nothing.wait(NAP_MS)
  }
}
