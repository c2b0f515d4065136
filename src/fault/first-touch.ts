/**
 * What a touch of a page costs a thread that is there, but that it has never touched. On most machines that is a memory access. Under a
 * hypervisor with shadow page tables it is an exit, 4.7 µs in C and 8 in a thread of Node (2 × AMD EPYC, PVM), and whoever draws the line between touches that
 * found their page and those that stood still has to know.
 */
import type { Clock } from '../clock.ts'
import { MADV, MAP, PROT } from '../native/abi.ts'
import { check, libc, viewOf } from '../native/libc.ts'

/** A touch that takes less than so many of those has found its page: a fault through a handler takes several system calls, each an exit there, too. */
const FIRST_TOUCHES_OF_STALL = 3

const PAGE_BYTES = 4096
const PAGE_WORDS = PAGE_BYTES / 4
const PAGES = 256

/**
 * In nanoseconds, medians: what a first touch takes beyond a second, which costs the clock and the interpreter as much. 0 where the
 * kernel (before Linux 5.14) brings no page that nobody touches.
 */
export function measureFirstTouchNs(clock: Clock): number {
  const bytes = PAGES * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'scratch memory')
  try {
    libc().madvise(address, bytes, MADV.NOHUGEPAGE)
    if (libc().madvise(address, bytes, MADV.POPULATE_WRITE) !== 0) return 0
    const words = new Int32Array(viewOf(address, bytes))
    const firstNs = medianTouchNs(words, clock)
    return Math.max(0, firstNs - medianTouchNs(words, clock))
  } finally {
    libc().munmap(address, bytes)
  }
}

function medianTouchNs(words: Int32Array, clock: Clock): number {
  const touchNs = new Float64Array(PAGES)
  let sum = 0 // A load whose value nobody uses need not happen: a zero is added to what is measured.
  for (let page = 0; page < PAGES; page++) {
    const startNs = clock.nowNs()
    sum += words[page * PAGE_WORDS] as number
    touchNs[page] = clock.nowNs() - startNs + sum
  }
  return touchNs.sort()[PAGES / 2] as number
}

/** What divides touches that found their page from stalls: `leastNs`, or more where first touches are slow. */
export function stallLineNs(leastNs: number, firstTouchNs: number): number {
  return Math.max(leastNs, FIRST_TOUCHES_OF_STALL * firstTouchNs)
}
