/**
 * How many faults a userfaultfd has to tell, without taking any: the kernel says so in fdinfo. A read gives faults
 * before other events, so a read of just so many cannot take a removal. Costs about as much as the read itself.
 * Owned by the thread that reads the faults.
 */
import { OPEN } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { libc } from '../native/libc.ts'

/** Six short lines; the one we want is the fifth. */
const TEXT_BYTES = 512
/** "pending:" as bytes. */
const LABEL = [...'pending:'].map((letter) => letter.charCodeAt(0))
const ZERO = 0x30
const NINE = 0x39

export class PendingFaults {
  readonly #libc = libc()
  readonly #userfaultfd: number
  #text: NativeBuffer | undefined
  #fd = -1

  /** Opens nothing yet: a client's first fault comes before the first question. */
  constructor(userfaultfd: number) {
    this.#userfaultfd = userfaultfd
  }

  /** Faults not read yet; −1 where the kernel does not tell (no /proc). */
  count(): number {
    this.#text ??= this.#open()
    if (this.#fd < 0) return -1
    const length = this.#libc.pread(this.#fd, this.#text.address, TEXT_BYTES, 0)
    const u8 = this.#text.u8
    for (let at = 0; at + LABEL.length < length; at++) {
      let same = 0
      while (same < LABEL.length && u8[at + same] === LABEL[same]) same++
      if (same < LABEL.length) continue
      let count = 0
      for (at += LABEL.length + 1; at < length; at++) {
        const digit = u8[at] as number
        if (digit < ZERO || digit > NINE) break
        count = count * 10 + (digit - ZERO)
      }
      return count
    }
    return -1
  }

  #open(): NativeBuffer {
    this.#fd = this.#libc.open(`/proc/self/fdinfo/${this.#userfaultfd}`, OPEN.RDONLY | OPEN.CLOEXEC, 0)
    return new NativeBuffer(TEXT_BYTES)
  }

  close(): void {
    if (this.#fd >= 0) this.#libc.close(this.#fd)
    this.#fd = -1
  }
}
