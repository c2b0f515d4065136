/** The machine's memory that nobody uses. */
import { MADV, MAP, PROT } from '../native/abi.ts'
import { libc } from '../native/libc.ts'

const PAGE_BYTES = 4096

/**
 * Touches so much free memory once and gives it back, so that whoever asks for memory next gets some that the machine
 * really has. In a virtual machine that is not a matter of course: what it has never used, or has freed some seconds ago (free page
 * reporting), is the host's, and the first touch of a page is an exit to the host, 9 µs instead of 2 (Firecracker, Linux 6.18).
 *
 * @param bytes at most; never more than half of `freeBytes`
 * @param freeBytes that this process may still have, by its control group too: who takes more than that is killed
 * @returns microseconds that a page took; NaN where nothing was touched (Linux before 5.14, or no memory)
 */
export function touchFreeMemory(bytes: number, freeBytes: number): number {
  const length = Math.floor(Math.min(bytes, freeBytes / 2) / PAGE_BYTES) * PAGE_BYTES
  if (length === 0) return Number.NaN
  const flags = MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE
  const address = libc().mmap(0, length, PROT.READ | PROT.WRITE, flags, -1, 0)
  if (address === -1) return Number.NaN
  try {
    libc().madvise(address, length, MADV.NOHUGEPAGE)
    const beganMs = performance.now()
    if (libc().madvise(address, length, MADV.POPULATE_WRITE) !== 0) return Number.NaN
    return ((performance.now() - beganMs) * 1000) / (length / PAGE_BYTES)
  } finally {
    libc().munmap(address, length)
  }
}
