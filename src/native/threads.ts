/** The threads of this process, asked for before there is anything native. */
import { readdirSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

/** The other threads of this process, as the kernel numbers them; none where there is no /proc. */
export function otherThreads(): number[] {
  try {
    const own = basename(readlinkSync('/proc/thread-self'))
    return readdirSync('/proc/self/task')
      .filter((thread) => thread !== own)
      .map(Number)
  } catch {
    return []
  }
}
