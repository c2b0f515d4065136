/** Makes a synthetic image in a memfd. The pages are tasks for the pool: they are no part of the page path. */
import { availableParallelism, freemem } from 'node:os'
import { FaultlaneError } from '../errors.ts'
import { IMAGE_PAGE_BYTES, Image } from '../memory/image.ts'
import { FCNTL, MFD, SEAL } from '../native/abi.ts'
import { check, libc } from '../native/libc.ts'
import { openTaskPool } from '../workers/task-pool.ts'

/** Pages of one task: about 50 ms of work. */
const PAGES_PER_TASK = 8192

export async function makeSyntheticImage(bytes: number): Promise<Image> {
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
  const about = 'synthetic image'
  const flags = MFD.CLOEXEC | MFD.ALLOW_SEALING
  const fd = check(libc().memfd_create('faultlane-synthetic', flags), 'memfd_create', about)
  try {
    check(libc().ftruncate(fd, bytes), 'ftruncate', about)
    await fill(fd, bytes / IMAGE_PAGE_BYTES)
    // Nobody can cut it short or write to it any more, us included: who maps it need not ask before each read.
    const seals = SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE
    check(libc().fcntl(fd, FCNTL.ADD_SEALS, seals), 'fcntl(F_ADD_SEALS)', about)
  } catch (error) {
    libc().close(fd)
    throw error
  }
  return Image.fromFd(fd, bytes, `synthetic, ${bytes} bytes`, `synthetic ${bytes}`, true)
}

async function fill(fd: number, pageCount: number): Promise<void> {
  const pool = openTaskPool(Math.min(availableParallelism(), Math.ceil(pageCount / PAGES_PER_TASK)))
  try {
    const tasks: Promise<unknown>[] = []
    for (let first = 0; first < pageCount; first += PAGES_PER_TASK) {
      const task = {
        kind: 'fill-synthetic',
        fd,
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
