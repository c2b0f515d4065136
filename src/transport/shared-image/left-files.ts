/**
 * Socket files that killed destinations have left behind, for their source to remove. Owned by the source's thread.
 * A dying process closes its descriptors one after the other, so that its connection may end before it has stopped
 * listening: then the file is looked at again, for a bounded time.
 */
import { FaultlaneError } from '../../errors.ts'
import { libc } from '../../native/libc.ts'
import { removeDeadSocket } from '../../native/unix-socket.ts'
import type { SocketFile } from '../transport.ts'

const RETRY_MS = 5
/** Closing takes microseconds where a processor is free; who still listens by then does not die. */
const DYING_MS_MAX = 1000

interface LeftFile extends SocketFile {
  readonly lateMs: number
}

export class LeftFiles {
  readonly #owner = libc().geteuid()
  #files: LeftFile[] = []
  #nextAtMs = 0

  /** How long a park may last, so that no file waits for it. */
  parkMs(timeoutMs: number): number {
    return this.#files.length === 0 ? timeoutMs : Math.min(timeoutMs, RETRY_MS)
  }

  /** Removes the file, now or soon; only if it is the socket that it was, of our own user, and nobody listens on it. */
  add(file: SocketFile, nowMs: number): void {
    this.#files.push({ ...file, lateMs: nowMs + DYING_MS_MAX })
    this.#nextAtMs = 0
  }

  retry(nowMs: number): void {
    if (this.#files.length === 0 || nowMs < this.#nextAtMs) return
    this.#nextAtMs = nowMs + RETRY_MS
    this.#files = this.#files.filter((file) => !this.#tryRemove(file) && nowMs < file.lateMs)
  }

  /** False: not yet. */
  #tryRemove({ path, identity }: LeftFile): boolean {
    try {
      return removeDeadSocket(path, identity, this.#owner)
    } catch (error) {
      // A folder that we may not enter, no descriptor free: no reason for a source to stop serving.
      if (error instanceof FaultlaneError || (error as NodeJS.ErrnoException).code !== undefined) return false
      throw error
    }
  }
}
