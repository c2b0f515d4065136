/** The tasks of the pool. Each takes and gives plain data. */
import { DEMAND_SLICE_NS } from '../config.ts'
import { IMAGE_PAGE_BYTES } from '../memory/image.ts'
import { fillSyntheticPage } from '../memory/synthetic.ts'
import { MFD } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc, viewOf } from '../native/libc.ts'
import { scheduleThread } from '../native/sched.ts'

export interface FillSyntheticTask {
  readonly kind: 'fill-synthetic'
  /** Of `firstPage`, in memory of this process that may be written. */
  readonly address: number
  readonly firstPage: number
  readonly pageCount: number
}

/** Reads a byte of each page, as a program and as the kernel does it. */
export interface TouchTask {
  readonly kind: 'touch'
  /** Of pages mapped in this process whose reading cannot fail. */
  readonly address: number
  readonly pageCount: number
}

export type Task = FillSyntheticTask | TouchTask

/** Behind everybody who has something to do; but with 19 the thread's very end took seconds beside two busy processors. */
const TOUCH_NICER = 10
/** iovecs of one call: the kernel takes 1024. */
const TOUCHES_PER_CALL = 512
const IOVEC_BYTES = 16

export default function run(task: Task): number {
  return task.kind === 'touch' ? touch(task) : fill(task)
}

function touch({ address, pageCount }: TouchTask): number {
  const c = libc()
  scheduleThread(TOUCH_NICER, DEMAND_SLICE_NS)
  const bytes = new Uint8Array(viewOf(address, pageCount * IMAGE_PAGE_BYTES))
  let sum = 0
  for (let at = 0; at < bytes.length; at += IMAGE_PAGE_BYTES) sum += bytes[at] as number
  // The kernel's own copying has to find something that it copies to and keeps nothing of.
  const sink = check(c.memfd_create('faultlane-touch', MFD.CLOEXEC), 'memfd_create', 'touch')
  const vector = new NativeBuffer(TOUCHES_PER_CALL * IOVEC_BYTES)
  for (let page = 0; page < pageCount; page += TOUCHES_PER_CALL) {
    const count = Math.min(TOUCHES_PER_CALL, pageCount - page)
    for (let i = 0; i < count; i++) {
      vector.setU64(i * IOVEC_BYTES, address + (page + i) * IMAGE_PAGE_BYTES)
      vector.setU64(i * IOVEC_BYTES + 8, 1)
    }
    c.pwritev(sink, vector.address, count, 0)
  }
  c.close(sink)
  return sum
}

function fill({ address, firstPage, pageCount }: FillSyntheticTask): number {
  const words = new Uint32Array(viewOf(address, pageCount * IMAGE_PAGE_BYTES))
  const wordsPerPage = IMAGE_PAGE_BYTES / 4
  for (let i = 0; i < pageCount; i++) fillSyntheticPage(words, i * wordsPerPage, firstPage + i)
  return pageCount
}
