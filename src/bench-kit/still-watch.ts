/** How long the machine stood still while something was measured. */
import { type RunningWorker, spawnWorker } from '../workers/spawn.ts'
import { endWatching, stillUs, WATCHING_WORDS } from '../workers/watching.ts'

export class StillWatch {
  readonly #words: Int32Array<SharedArrayBuffer>
  readonly #worker: RunningWorker

  private constructor(words: Int32Array<SharedArrayBuffer>, worker: RunningWorker) {
    this.#words = words
    this.#worker = worker
  }

  /** Undefined where a thread may not go before all others: without CAP_SYS_NICE or a limit of real-time priority. */
  static async start(): Promise<StillWatch | undefined> {
    const words = new Int32Array(new SharedArrayBuffer(WATCHING_WORDS * 4))
    const worker = spawnWorker('watcher', words, () => {})
    try {
      await worker.ready
      return new StillWatch(words, worker)
    } catch {
      return undefined
    }
  }

  /** So far. */
  ms(): number {
    return stillUs(this.#words) / 1000
  }

  async end(): Promise<void> {
    endWatching(this.#words)
    await this.#worker.ended
  }
}
