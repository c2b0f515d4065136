/** A doorbell that a thread can sleep on in poll(2), beside its sockets. Any thread may signal it. */
import { EFD } from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { check, libc } from './libc.ts'

export class EventFd {
  readonly fd: number
  readonly #word = new NativeBuffer(8)

  /** @param fd an eventfd of this process to share; made when left out */
  constructor(fd = check(libc().eventfd(0, EFD.CLOEXEC | EFD.NONBLOCK), 'eventfd', 'doorbell')) {
    this.fd = fd
  }

  /** Wakes the sleeper; never blocks (a full counter is a sleeper already awake). */
  signal(): void {
    this.#word.setU64(0, 1)
    libc().write(this.fd, this.#word.address, 8)
  }

  /** Takes the signal back after waking up. */
  drain(): void {
    libc().read(this.fd, this.#word.address, 8)
  }

  close(): void {
    libc().close(this.fd)
  }
}
