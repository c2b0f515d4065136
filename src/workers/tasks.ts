/** The tasks of the pool. Each takes and gives plain data. */
import { IMAGE_PAGE_BYTES } from '../memory/image.ts'
import { fillSyntheticPage } from '../memory/synthetic.ts'
import { MAP, PROT } from '../native/abi.ts'
import { check, libc, viewOf } from '../native/libc.ts'

export interface FillSyntheticTask {
  readonly kind: 'fill-synthetic'
  /** A writable memfd of this process. */
  readonly fd: number
  readonly firstPage: number
  readonly pageCount: number
}

export type Task = FillSyntheticTask

export default function run(task: Task): number {
  const bytes = task.pageCount * IMAGE_PAGE_BYTES
  const offset = task.firstPage * IMAGE_PAGE_BYTES
  const address = check(
    libc().mmap(0, bytes, PROT.READ | PROT.WRITE, MAP.SHARED, task.fd, offset),
    'mmap',
    'synthetic image',
  )
  const words = new Uint32Array(viewOf(address, bytes))
  const wordsPerPage = IMAGE_PAGE_BYTES / 4
  for (let i = 0; i < task.pageCount; i++) fillSyntheticPage(words, i * wordsPerPage, task.firstPage + i)
  libc().munmap(address, bytes)
  return task.pageCount
}
