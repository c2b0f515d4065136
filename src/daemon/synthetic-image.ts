/** Makes a synthetic image. The pages are tasks for the pool: they are no part of the page path. */
import { availableParallelism, freemem } from 'node:os'
import { FaultlaneError } from '../errors.ts'
import { IMAGE_PAGE_BYTES, Image } from '../memory/image.ts'
import { FCNTL, MADV, MAP, MFD, PROT, SEAL } from '../native/abi.ts'
import { check, libc } from '../native/libc.ts'
import { openTaskPool } from '../workers/task-pool.ts'

/** Pages of one task: about 50 ms of work. */
const PAGES_PER_TASK = 8192
/** Of x86-64, and of arm64 with pages of 4 KiB. */
const HUGE_PAGE_BYTES = 2 << 20
const ABOUT = 'synthetic image'

/** @param isShared other processes are to map it */
export async function makeSyntheticImage(bytes: number, isShared: boolean): Promise<Image> {
  if (!Number.isSafeInteger(bytes) || bytes < IMAGE_PAGE_BYTES || bytes % IMAGE_PAGE_BYTES !== 0) {
    throw new FaultlaneError({
      code: 'IMAGE_GEOMETRY',
      path: '(synthetic)',
      bytes,
      pageSize: IMAGE_PAGE_BYTES,
    })
  }
  if (bytes > freemem()) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'synthetic image',
      got: `${bytes} bytes`,
      expected: `no more than the ${freemem()} bytes of memory free now`,
    })
  }
  const name = `synthetic, ${bytes} bytes`
  const identity = `synthetic ${bytes}`
  if (isShared) return Image.fromFd(await makeSealed(bytes), bytes, name, identity, true)
  return Image.fromMemory(await makePrivate(bytes), bytes, name, identity)
}

/** A memfd that other processes can map. */
async function makeSealed(bytes: number): Promise<number> {
  const flags = MFD.CLOEXEC | MFD.ALLOW_SEALING
  const fd = check(libc().memfd_create('faultlane-synthetic', flags), 'memfd_create', ABOUT)
  try {
    check(libc().ftruncate(fd, bytes), 'ftruncate', ABOUT)
    const writable = PROT.READ | PROT.WRITE
    const address = check(libc().mmap(0, bytes, writable, MAP.SHARED, fd, 0), 'mmap', ABOUT)
    try {
      await fill(address, bytes / IMAGE_PAGE_BYTES)
    } finally {
      libc().munmap(address, bytes)
    }
    // Nobody can cut it short or write to it any more, us included: who maps it need not ask before each read.
    const seals = SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE
    check(libc().fcntl(fd, FCNTL.ADD_SEALS, seals), 'fcntl(F_ADD_SEALS)', ABOUT)
    return fd
  } catch (error) {
    libc().close(fd)
    throw error
  }
}

/**
 * Memory of this process alone, in huge pages where the kernel has any. Under a hypervisor with shadow page tables that is worth more than
 * misses of the TLB: what the guest's kernel changes in page tables (it samples accesses, say: DAMON) has to be shadowed anew at the next
 * change of processes. With 2 GiB in small pages that was 5 to 15 ms twice a second, and a light client's p99, with nothing else to do,
 * 60 to 90 ms; in huge pages 2 to 4 (2 × AMD EPYC, PVM, two alternating pairs).
 */
async function makePrivate(bytes: number): Promise<number> {
  const writable = PROT.READ | PROT.WRITE
  const flags = MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE
  const all = bytes + HUGE_PAGE_BYTES
  const base = check(libc().mmap(0, all, writable, flags, -1, 0), 'mmap', ABOUT)
  const address = Math.ceil(base / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
  const end = address + bytes
  if (address > base) libc().munmap(base, address - base)
  if (base + all > end) libc().munmap(end, base + all - end)
  try {
    libc().madvise(address, bytes, MADV.HUGEPAGE) // A kernel that has none says so; small ones will do.
    await fill(address, bytes / IMAGE_PAGE_BYTES)
    check(libc().mprotect(address, bytes, PROT.READ), 'mprotect', ABOUT)
    return address
  } catch (error) {
    libc().munmap(address, bytes)
    throw error
  }
}

async function fill(address: number, pageCount: number): Promise<void> {
  const pool = openTaskPool(Math.min(availableParallelism(), Math.ceil(pageCount / PAGES_PER_TASK)))
  try {
    const tasks: Promise<unknown>[] = []
    for (let first = 0; first < pageCount; first += PAGES_PER_TASK) {
      const task = {
        kind: 'fill-synthetic',
        address: address + first * IMAGE_PAGE_BYTES,
        firstPage: first,
        pageCount: Math.min(PAGES_PER_TASK, pageCount - first),
      }
      tasks.push(pool.run(task))
    }
    await Promise.all(tasks)
  } finally {
    await pool.destroy()
  }
}
