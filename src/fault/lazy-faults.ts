/** The agents' ends of a LazyMemory: faults out of its ring, pages into its memory. */
import { addressOf, libc } from '../native/libc.ts'
import { MpscConsumer } from '../ring/mpsc-ring.ts'
import { type FaultSink, type FaultSource, PLACED, type Placer } from './fault-source.ts'
import { CLOSED, HERE, type LazyDescription, SLEEPERS, WAIT, WAIT_WORDS } from './lazy-layout.ts'

/** Faults handed over in one call, as many as one read of a userfaultfd gives: the demand lane keeps room for them. */
const FAULTS_PER_POLL_MAX = 64

/** Hands the readers' faults to the demand agent, which owns it. Readers wake the agent by its doorbell. */
export class LazyFaults implements FaultSource {
  readonly pollFd = -1
  /** Faults on pages that the memory does not have. */
  strays = 0
  readonly #faults: MpscConsumer
  readonly #pageCount: number
  readonly #waiting: Int32Array

  constructor(description: LazyDescription) {
    this.#faults = new MpscConsumer(description.faults)
    this.#pageCount = description.bytes / description.pageSize
    this.#waiting = new Int32Array(description.waiting)
  }

  /** Whether a poll would find something: the agent's last look before it parks. */
  get hasNews(): boolean {
    return this.#faults.peekBatch(1) > 0 || Atomics.load(this.#waiting, CLOSED) === 1
  }

  pollFaults(sink: FaultSink): number {
    const count = this.#faults.peekBatch(FAULTS_PER_POLL_MAX)
    const first = this.#faults.peekIndex()
    for (let i = 0; i < count; i++) {
      const page = this.#faults.words[first + i] as number
      if (page >= 0 && page < this.#pageCount) sink.onFault(page)
      else this.strays++
    }
    this.#faults.releaseBatch(count)
    if (count === 0 && Atomics.load(this.#waiting, CLOSED) === 1) return -1
    return count
  }
}

/** Places pages into a LazyMemory. One per placing thread; the lanes' page table keeps two of them off one page. */
export class LazyPlacer implements Placer {
  status: number = PLACED.ALL
  /** Pages that were there already when we came: left as they are, a reader may have written to them. */
  existed = 0
  readonly #pageSize: number
  readonly #content: Uint8Array
  readonly #here: Uint8Array
  readonly #waiting: Int32Array
  #contentAddress = 0

  constructor(description: LazyDescription) {
    this.#pageSize = description.pageSize
    this.#content = new Uint8Array(description.content)
    this.#here = new Uint8Array(description.here)
    this.#waiting = new Int32Array(description.waiting)
  }

  place(firstPage: number, pageCount: number, address: number): number {
    this.#contentAddress ||= addressOf(this.#content)
    const { memcpy } = libc()
    for (let i = 0; i < pageCount; i++) {
      if (this.#isHere(firstPage + i)) continue
      const at = (firstPage + i) * this.#pageSize
      memcpy(this.#contentAddress + at, address + i * this.#pageSize, this.#pageSize)
      Atomics.store(this.#here, firstPage + i, HERE.YES) // Pairs with the load in LazyMemory; after the content.
    }
    return this.#arrived(firstPage, pageCount)
  }

  /** place() of bytes that JavaScript has, for sources that need no foreign function interface. */
  placeBytes(firstPage: number, bytes: Uint8Array): number {
    const pageCount = Math.floor(bytes.length / this.#pageSize)
    for (let i = 0; i < pageCount; i++) {
      if (this.#isHere(firstPage + i)) continue
      const page = bytes.subarray(i * this.#pageSize, (i + 1) * this.#pageSize)
      this.#content.set(page, (firstPage + i) * this.#pageSize)
      Atomics.store(this.#here, firstPage + i, HERE.YES)
    }
    return this.#arrived(firstPage, pageCount)
  }

  /** Never-placed content is zero already: it only has to be declared. */
  placeZero(firstPage: number, pageCount: number): number {
    for (let i = 0; i < pageCount; i++) {
      if (!this.#isHere(firstPage + i)) Atomics.store(this.#here, firstPage + i, HERE.YES)
    }
    return this.#arrived(firstPage, pageCount)
  }

  /** Whoever waits for the pages gets PAGE_LOST, and never zeros. */
  lose(firstPage: number, pageCount: number): void {
    for (let i = 0; i < pageCount; i++) {
      Atomics.compareExchange(this.#here, firstPage + i, HERE.NO, HERE.LOST)
    }
    this.#arrived(firstPage, pageCount)
  }

  wake(page: number): void {
    this.#arrived(page, 1)
  }

  #isHere(page: number): boolean {
    if (Atomics.load(this.#here, page) !== HERE.YES) return false
    this.existed++
    return true
  }

  #arrived(firstPage: number, pageCount: number): number {
    const words = Math.min(pageCount, WAIT_WORDS)
    for (let i = 0; i < words; i++) {
      const word = WAIT + ((firstPage + i) % WAIT_WORDS)
      Atomics.add(this.#waiting, word, 1) // Pairs with the loads before a reader sleeps.
      if (Atomics.load(this.#waiting, SLEEPERS) > 0) Atomics.notify(this.#waiting, word)
    }
    this.status = PLACED.ALL
    return pageCount
  }
}
