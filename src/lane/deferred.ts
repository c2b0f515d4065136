/**
 * Pages that have come and that the kernel would not take yet (EAGAIN while the client removes memory). Their
 * bytes are kept here and tried again, at growing distances, so that a long removal makes no storm of calls.
 * Owned by one lane. When it is full the lane stops polling its channel until there is room.
 */
import type { Clock } from '../clock.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { type Libc, libc } from '../native/libc.ts'

const RETRY_NS_MIN = 20_000
const RETRY_NS_MAX = 2_000_000

export class Deferred {
  readonly #libc: Libc = libc()
  readonly #clock: Clock
  readonly #pageBytes: number
  readonly #slots: number
  readonly #bytes: NativeBuffer
  readonly #pages: Int32Array
  #count = 0
  #retryNs = RETRY_NS_MIN
  #nextAtNs = 0

  constructor(clock: Clock, pageBytes: number, slots: number) {
    this.#clock = clock
    this.#pageBytes = pageBytes
    this.#slots = slots
    this.#bytes = new NativeBuffer(slots * pageBytes, 4096)
    this.#pages = new Int32Array(slots)
  }

  get count(): number {
    return this.#count
  }

  get room(): number {
    return this.#slots - this.#count
  }

  /** Keeps a page's bytes; address 0 means a page of zeros. Throws RangeError when there is no room: look first. */
  keep(page: number, address: number): void {
    if (this.#count === this.#slots)
      throw new RangeError(`no room for page ${page} beside ${this.#slots} others`)
    const slot = this.#count++
    this.#pages[slot] = address === 0 ? ~page : page
    if (address !== 0)
      this.#libc.memcpy(this.#bytes.address + slot * this.#pageBytes, address, this.#pageBytes)
  }

  /** True when it is time to try again. */
  isDue(): boolean {
    return this.#count > 0 && this.#clock.nowNs() >= this.#nextAtNs
  }

  /** The last page kept, to be tried now; its address is 0 for zeros. */
  lastPage(): number {
    const page = this.#pages[this.#count - 1] as number
    return page < 0 ? ~page : page
  }

  lastAddress(): number {
    const slot = this.#count - 1
    return (this.#pages[slot] as number) < 0 ? 0 : this.#bytes.address + slot * this.#pageBytes
  }

  /** The last page is done. */
  dropLast(): void {
    this.#count--
    this.#retryNs = RETRY_NS_MIN
    this.#nextAtNs = 0
  }

  /** The kernel said no once more. */
  backOff(): void {
    this.#nextAtNs = this.#clock.nowNs() + this.#retryNs
    this.#retryNs = Math.min(this.#retryNs * 2, RETRY_NS_MAX)
  }

  clear(): void {
    this.#count = 0
    this.#nextAtNs = 0
    this.#retryNs = RETRY_NS_MIN
  }
}
