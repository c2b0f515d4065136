/**
 * Touches the pages of an image that is in memory once, in the background, before a destination asks for them. To
 * map them is not enough: a virtual machine whose page tables its host shadows pays 2 µs for the first access to each
 * mapped page, once from the program and once from the kernel (measured: 256 MiB, 119 and 115 ms; 2 and 6 ms after
 * that), and without this the first session pays it. On a machine of its own it takes a few milliseconds.
 */
import { IMAGE_PAGE_BYTES, type Image } from '../memory/image.ts'
import { openTaskPool } from '../workers/task-pool.ts'

/** Pages of one task, 5 ms of a processor, of which a busy one gives a tenth: a close may have to wait for it. */
const PAGES_PER_TASK = 1024

export interface TouchingAhead {
  /** Resolves when every page has been touched, or nobody goes on. */
  readonly done: Promise<void>
  /** Ends it; resolves when nobody touches the image any more, so that it can be unmapped. */
  stop(): Promise<void>
}

export function touchAhead(image: Image): TouchingAhead {
  const { address, bytes } = image.description
  const pageCount = bytes / IMAGE_PAGE_BYTES
  let isStopped = false
  const run = async (): Promise<void> => {
    const pool = openTaskPool(1)
    try {
      for (let page = 0; page < pageCount && !isStopped; page += PAGES_PER_TASK) {
        await pool.run({
          kind: 'touch',
          address: address + page * IMAGE_PAGE_BYTES,
          pageCount: Math.min(PAGES_PER_TASK, pageCount - page),
        })
      }
    } finally {
      await pool.destroy()
    }
  }
  // Nothing depends on it: pages that were not touched ahead are touched when they are asked for.
  const done = run().catch(() => {})
  return {
    done,
    stop: () => {
      isStopped = true
      return done
    },
  }
}
