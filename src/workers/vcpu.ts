/**
 * A vCPU of a measured client: loads one word from each page of its order, times the load, and compares every byte of
 * the page with the synthetic pattern, which it makes itself. Owned by one thread; the load stops that thread, whole,
 * until the page is there.
 */
import { monotonicClock } from '../clock.ts'
import { assert } from '../errors.ts'
import { measureFirstTouchNs } from '../fault/first-touch.ts'
import type { LazyMemory } from '../fault/lazy-memory.ts'
import { fillSyntheticPage } from '../memory/synthetic.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { addressOf, type Libc, libc, viewOf } from '../native/libc.ts'
import { collectAllGarbage } from './collect-garbage.ts'
import { joinLazyMemory } from './lazy-join.ts'
import type { VcpuPlan, VcpuStart } from './plans.ts'

const PAGE_BYTES = 4096
const PAGE_WORDS = PAGE_BYTES / 4

/** Control words that all vCPUs of a client share, then a few for each. */
export const VCPU_CONTROL = {
  PHASE: 0,
  FIRST: 32,
  WORDS_PER_VCPU: 32,
  TOUCHED: 0,
  CHECKED: 1,
  CORRUPT: 2,
  /** What measureFirstTouchNs() says, in nanoseconds. */
  FIRST_TOUCH: 3,
} as const
export const VCPU_PHASE = { TOUCH: 0, SWEEP: 1, END: 2 } as const

/** Think time from here on is slept: below it a sleep would be longer than it says. */
const SLEEP_NS_MIN = 100_000
/** A wait for the next phase ends by itself: a thread asleep cannot be terminated. */
const PHASE_WAIT_MS = 100
/** Touches of scratch memory before the first that counts: a guess, well beyond what the compiler waits for. */
const WARM_UP_TOUCHES = 6000
const WARM_UP_PAGES = 64

/** Memory whose pages are missing at first. */
interface VcpuMemory {
  /** The first word of the page, once it is there. */
  load(page: number): number
  readonly address: number
}

/** Mapped memory under a userfaultfd: a load from a missing page is a page fault. */
class MappedMemory implements VcpuMemory {
  readonly address: number
  readonly #words: Uint32Array

  constructor(address: number, bytes: number) {
    this.address = address
    this.#words = new Uint32Array(viewOf(address, bytes))
  }

  load(page: number): number {
    return this.#words[page * PAGE_WORDS]!
  }
}

/** LazyMemory: a load from a missing page is a call that stands still. */
class LazyVcpuMemory implements VcpuMemory {
  readonly address: number
  readonly #memory: LazyMemory
  readonly #words: Uint32Array

  constructor(memory: LazyMemory) {
    this.address = addressOf(memory.content)
    this.#memory = memory
    this.#words = new Uint32Array(memory.content.buffer)
  }

  load(page: number): number {
    this.#memory.ensureSync(page * PAGE_BYTES, PAGE_BYTES)
    return this.#words[page * PAGE_WORDS]!
  }
}

export class Vcpu {
  readonly #plan: VcpuPlan
  /** As of toucher.ts: made later, at the first touches, the view would cost the thread what it has compiled. */
  readonly #mapped: MappedMemory
  readonly #control: Int32Array
  readonly #expected = new NativeBuffer(PAGE_BYTES, PAGE_BYTES)
  readonly #libc: Libc = libc()
  readonly #words: number
  readonly #seen: Uint8Array
  #memory: VcpuMemory | undefined
  #sum = 0

  constructor(plan: VcpuPlan) {
    this.#plan = plan
    this.#mapped = new MappedMemory(plan.address, plan.pageCount * PAGE_BYTES)
    this.#control = plan.control
    this.#words = VCPU_CONTROL.FIRST + plan.index * VCPU_CONTROL.WORDS_PER_VCPU
    this.#seen = new Uint8Array(plan.pageCount)
  }

  waitForPhase(phase: number): number {
    for (;;) {
      const now = Atomics.load(this.#control, VCPU_CONTROL.PHASE)
      if (now >= phase) return now
      Atomics.wait(this.#control, VCPU_CONTROL.PHASE, now, PHASE_WAIT_MS)
    }
  }

  /** Runs the loops over scratch memory: the first samples must not be the interpreter's. Then says what a first touch costs. */
  warmUp(): void {
    collectAllGarbage() // Now, for the view of the client's memory: what is compiled from here on stays.
    const scratch = new NativeBuffer(WARM_UP_PAGES * PAGE_BYTES, PAGE_BYTES)
    for (let page = 0; page < WARM_UP_PAGES; page++) fillSyntheticPage(scratch.u32, page * PAGE_WORDS, page)
    const order = Int32Array.from({ length: WARM_UP_TOUCHES }, (_, i) => i % WARM_UP_PAGES)
    const touchNs = new Float64Array(new SharedArrayBuffer(8 * WARM_UP_TOUCHES))
    const memory = new MappedMemory(scratch.address, scratch.bytes)
    const wrong = this.#touch(memory, order, touchNs, 0, 1, 1000)
    assert(wrong === 0, 'the pattern of scratch memory checks')
    Atomics.store(this.#control, this.#words + VCPU_CONTROL.TOUCHED, 0)
    Atomics.store(this.#control, this.#words + VCPU_CONTROL.CHECKED, 0)
    this.#seen.fill(0)
    const firstTouchNs = Math.round(measureFirstTouchNs(monotonicClock))
    Atomics.store(this.#control, this.#words + VCPU_CONTROL.FIRST_TOUCH, firstTouchNs)
  }

  /** Touches its share of the order, pausing in between. How long it took, milliseconds. */
  touch(start: Exclude<VcpuStart, { kind: 'none' }>): number {
    const memory = start.kind === 'mapped' ? this.#mapped : new LazyVcpuMemory(joinLazyMemory(start.share))
    this.#memory = memory
    const { order, touchNs, index, vcpuCount, thinkNs } = this.#plan
    const startedMs = performance.now()
    const wrong = this.#touch(memory, order, touchNs, index, vcpuCount, thinkNs)
    Atomics.add(this.#control, this.#words + VCPU_CONTROL.CORRUPT, wrong)
    return performance.now() - startedMs
  }

  /** Checks its share of the pages that nobody's order held. All must be there. */
  sweep(): void {
    const { order, index, vcpuCount, pageCount } = this.#plan
    for (let i = 0; i < order.length; i++) this.#seen[order[i]!] = 1
    let wrong = 0
    assert(this.#memory !== undefined, 'a sweep follows the touches')
    for (let page = index; page < pageCount && !this.#isEnded(); page += vcpuCount) {
      if (this.#seen[page] === 1) continue
      wrong += this.#check(this.#memory, page)
    }
    Atomics.add(this.#control, this.#words + VCPU_CONTROL.CORRUPT, wrong)
  }

  #touch(
    memory: VcpuMemory,
    order: Int32Array,
    touchNs: Float64Array,
    first: number,
    step: number,
    thinkNs: number,
  ): number {
    let wrong = 0
    let sum = 0
    for (let i = first; i < order.length && !this.#isEnded(); i += step) {
      const page = order[i]!
      const startedMs = performance.now()
      sum = (sum + memory.load(page)) | 0
      const endedMs = performance.now()
      touchNs[i] = (endedMs - startedMs) * 1e6
      wrong += this.#check(memory, page)
      Atomics.add(this.#control, this.#words + VCPU_CONTROL.TOUCHED, 1)
      if (thinkNs >= SLEEP_NS_MIN) Atomics.wait(NEVER, 0, 0, thinkNs / 1e6)
      else if (thinkNs > 0) spinUntil(performance.now() + thinkNs / 1e6)
    }
    this.#sum = (this.#sum + sum) | 0 // A load whose value nobody uses need not happen.
    return wrong
  }

  /** Told to end in the midst of its order: what it would find there is no longer of interest. */
  #isEnded(): boolean {
    return Atomics.load(this.#control, VCPU_CONTROL.PHASE) === VCPU_PHASE.END
  }

  /** 1 when any byte of the page differs from the pattern. A page is counted as checked the first time. */
  #check(memory: VcpuMemory, page: number): number {
    fillSyntheticPage(this.#expected.u32, 0, page)
    if (this.#seen[page] === 0) {
      this.#seen[page] = 1
      Atomics.add(this.#control, this.#words + VCPU_CONTROL.CHECKED, 1)
    }
    return this.#libc.memcmp(this.#expected.address, memory.address + page * PAGE_BYTES, PAGE_BYTES) === 0
      ? 0
      : 1
  }
}

const NEVER = new Int32Array(new SharedArrayBuffer(4))

function spinUntil(ms: number): void {
  while (performance.now() < ms);
}
