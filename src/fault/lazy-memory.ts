/**
 * Memory of this process whose pages come on use, without userfaultfd: a reader says which bytes it wants and gets
 * them once they are there, either standing still (readSync, any thread) or asynchronously (read: the asynchronous
 * page fault, other work of the thread goes on). For libraries, and for places where the kernel refuses.
 *
 * One object for each reading thread; all share the memory of the description. A fault is a record in a ring to
 * the demand agent, which must run on another thread than a reader that stands still.
 */
import { type Clock, monotonicClock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import { NO_RECORD } from '../ring/layout.ts'
import { MpscProducer } from '../ring/mpsc-ring.ts'
import { ASKERS, CLOSED, HERE, type LazyDescription, SLEEPERS, WAIT, WAIT_WORDS } from './lazy-layout.ts'

/** Pages that one reader asks for ahead of the one it waits for: a long read is not one round trip a page. */
export const FAULTS_AHEAD_MAX = 64

/** A sleep ends by itself: the fault is then posted again, so an agent that was replaced learns of it, too. */
const SLEEP_MS_MAX = 100

/** A reader that found the ring full looks again this soon. */
const RETRY_MS = 1

/** How long a read may wait for one page, unless told otherwise. A guess: well beyond any link's bad moment. */
const READ_TIMEOUT_MS = 30_000

export interface LazyMemoryOptions {
  /** Wakes the demand agent: its doorbell. */
  readonly agent: { wake(): unknown }
  /** How long a read may wait for one page before it fails with DEMAND_TIMEOUT; Infinity: for ever. */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/** How far one read has come. */
interface Progress {
  /** First page that was not there when last looked at, and the first beyond the read. */
  page: number
  readonly end: number
  /** Pages before it have been asked for. */
  asked: number
  /** The page that the read stands at, since when, and when it was last asked for. */
  stoppedAt: number
  stoppedMs: number
  askedMs: number
}

export class LazyMemory {
  /** Of the whole memory, and of one page. */
  readonly bytes: number
  readonly pageSize: number
  /** The memory itself. Where nothing has been ensured it may hold zeros instead of content. */
  readonly content: Uint8Array<SharedArrayBuffer>
  /** Faults that found the ring full and were posted later. */
  refusals = 0
  readonly #here: Uint8Array
  readonly #waiting: Int32Array<SharedArrayBuffer>
  readonly #faults: MpscProducer
  readonly #agent: { wake(): unknown }
  readonly #timeoutMs: number
  readonly #clock: Clock
  /** Asynchronous reads under way. Their waits do not keep the event loop alive, so a timer does. */
  #pending = 0
  #keepAlive: NodeJS.Timeout | undefined

  constructor(description: LazyDescription, options: LazyMemoryOptions) {
    this.bytes = description.bytes
    this.pageSize = description.pageSize
    this.content = new Uint8Array(description.content)
    this.#here = new Uint8Array(description.here)
    this.#waiting = new Int32Array(description.waiting)
    this.#faults = new MpscProducer(description.faults)
    this.#agent = options.agent
    this.#timeoutMs = options.timeoutMs ?? READ_TIMEOUT_MS
    this.#clock = options.clock ?? monotonicClock
  }

  /** A copy of the bytes; the thread stands still until they are there. Throws PAGE_LOST, DEMAND_TIMEOUT. */
  readSync(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.ensureSync(offset, length)
    return this.#copy(offset, length)
  }

  /** A copy of the bytes, once they are there; the thread goes on meanwhile. Rejects like readSync. */
  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.ensure(offset, length)
    return this.#copy(offset, length)
  }

  /** Stands still until all of the range is there, so that `content` can be read in place. */
  ensureSync(offset: number, length: number): void {
    const progress = this.#begin(offset, length)
    while (!this.#advance(progress)) {
      const word = WAIT + (progress.page % WAIT_WORDS)
      // Announce, look once more, then sleep; pairs with LazyPlacer, which writes the page, then looks at sleepers.
      Atomics.add(this.#waiting, SLEEPERS, 1)
      const seen = Atomics.load(this.#waiting, word)
      if (this.#mustWait(progress.page)) Atomics.wait(this.#waiting, word, seen, sleepMs(progress))
      Atomics.sub(this.#waiting, SLEEPERS, 1)
    }
  }

  /** Resolves when all of the range is there. */
  async ensure(offset: number, length: number): Promise<void> {
    const progress = this.#begin(offset, length)
    if (this.#advance(progress)) return
    if (this.#pending++ === 0) this.#keepAlive = setInterval(() => {}, 1 << 30)
    try {
      do {
        const word = WAIT + (progress.page % WAIT_WORDS)
        Atomics.add(this.#waiting, SLEEPERS, 1) // As in ensureSync().
        const seen = Atomics.load(this.#waiting, word)
        if (this.#mustWait(progress.page)) {
          await Atomics.waitAsync(this.#waiting, word, seen, sleepMs(progress)).value
        }
        Atomics.sub(this.#waiting, SLEEPERS, 1)
      } while (!this.#advance(progress))
    } finally {
      if (--this.#pending === 0) clearInterval(this.#keepAlive)
    }
  }

  /** Whether the whole range can be read at once. */
  isHere(offset: number, length: number): boolean {
    const { page, end } = this.#begin(offset, length)
    for (let i = page; i < end; i++) if (Atomics.load(this.#here, i) !== HERE.YES) return false
    return true
  }

  /** For all threads: what is not here fails from now on, and whoever waits comes back with PAGE_LOST. */
  close(): void {
    Atomics.store(this.#waiting, CLOSED, 1)
    for (let i = 0; i < WAIT_WORDS; i++) {
      Atomics.add(this.#waiting, WAIT + i, 1)
      Atomics.notify(this.#waiting, WAIT + i)
    }
    this.#agent.wake()
  }

  /** After close(): whether a thread may still be about to wake the agent. */
  get isAsking(): boolean {
    return Atomics.load(this.#waiting, ASKERS) > 0
  }

  #copy(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(length)
    copy.set(this.content.subarray(offset, offset + length))
    return copy
  }

  #begin(offset: number, length: number): Progress {
    const isInside =
      Number.isInteger(offset) &&
      Number.isInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      offset + length <= this.bytes
    if (!isInside) {
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: 'range of lazy memory',
        got: `offset ${offset}, length ${length}`,
        expected: `a range within ${this.bytes} bytes`,
      })
    }
    const page = Math.floor(offset / this.pageSize)
    const end = length === 0 ? page : Math.ceil((offset + length) / this.pageSize)
    return { page, end, asked: page, stoppedAt: -1, stoppedMs: 0, askedMs: 0 }
  }

  #mustWait(page: number): boolean {
    return Atomics.load(this.#here, page) === HERE.NO && Atomics.load(this.#waiting, CLOSED) === 0
  }

  /** Steps over what is here and asks for what is not; true when nothing is left to wait for. */
  #advance(progress: Progress): boolean {
    let state: number = HERE.YES
    while (progress.page < progress.end) {
      state = Atomics.load(this.#here, progress.page) // Pairs with the store in LazyPlacer.
      if (state !== HERE.YES) break
      progress.page++
    }
    const { page, end } = progress
    if (page === end) return true
    if (Atomics.load(this.#waiting, CLOSED) === 1) throw lost(page, 'the memory has been closed')
    // Lost before we asked is an old story: we ask again.
    if (state === HERE.LOST && progress.asked > page) throw lost(page, 'its source cannot give it')

    const nowMs = this.#clock.nowNs() / 1e6
    if (progress.stoppedAt !== page) {
      progress.stoppedAt = page
      progress.stoppedMs = nowMs
      progress.askedMs = nowMs
    } else if (nowMs - progress.stoppedMs >= this.#timeoutMs) {
      const waitedMs = Math.round(nowMs - progress.stoppedMs)
      throw new FaultlaneError({ code: 'DEMAND_TIMEOUT', page, waitedMs })
    } else if (nowMs - progress.askedMs >= SLEEP_MS_MAX) {
      progress.asked = page
      progress.askedMs = nowMs
    }
    progress.asked = this.#ask(Math.max(page, progress.asked), Math.min(end, page + FAULTS_AHEAD_MAX))
    return false
  }

  /** Posts faults for what is not here; the first page that found no room in the ring, or `end`. */
  #ask(firstPage: number, end: number): number {
    // Announced before the look at CLOSED: after close(), an agent's doorbell is safe once nobody asks.
    Atomics.add(this.#waiting, ASKERS, 1)
    const next = Atomics.load(this.#waiting, CLOSED) === 1 ? firstPage : this.#post(firstPage, end)
    Atomics.sub(this.#waiting, ASKERS, 1)
    return next
  }

  #post(firstPage: number, end: number): number {
    let posted = 0
    let page = firstPage
    for (; page < end; page++) {
      const state = Atomics.compareExchange(this.#here, page, HERE.LOST, HERE.NO)
      if (state === HERE.YES) continue
      const index = this.#faults.tryClaim()
      if (index === NO_RECORD) {
        this.refusals++
        break
      }
      this.#faults.words[index] = page
      this.#faults.commit()
      posted++
    }
    if (posted > 0 || page < end) this.#agent.wake()
    return page
  }
}

function sleepMs(progress: Progress): number {
  return progress.asked > progress.page ? SLEEP_MS_MAX : RETRY_MS
}

function lost(page: number, reason: string): FaultlaneError {
  return new FaultlaneError({ code: 'PAGE_LOST', page, reason })
}
