/**
 * One client, measured: memory of which nothing is there, vCPU threads that touch it and check every byte, and what
 * they saw. Over a userfaultfd the memory is this process's and a destination process fills it; over LazyMemory this
 * process is the destination, too.
 */
import type { OpenLazyMemory } from '../daemon/lazy.ts'
import { FaultlaneError } from '../errors.ts'
import { FaultClient, reserveMemory } from '../fault/client.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { libc } from '../native/libc.ts'
import { type StallFigures, stallFigures } from '../report/stall-figures.ts'
import type { VcpuPlan, VcpuStart, WorkerMessage } from '../workers/plans.ts'
import { type RunningWorker, spawnWorker } from '../workers/spawn.ts'
import { VCPU_CONTROL, VCPU_PHASE } from '../workers/vcpu.ts'

export interface ClientOptions {
  readonly bytes: number
  readonly order: Int32Array<SharedArrayBuffer>
  readonly vcpus: number
  readonly thinkNs: number
}

/** Where the client's pages come from: a destination's socket, or LazyMemory of this process. */
export type ClientMemory =
  | { readonly socketPath: string; readonly regions?: number }
  | { readonly lazy: OpenLazyMemory }

export interface ClientFigures {
  readonly stalls: StallFigures
  /** Longest of the vCPUs' times from first touch to last. */
  readonly elapsedMs: number
  readonly checkedPages: number
  readonly corruptPages: number
}

const PAGE_BYTES = 4096

const open = new Set<MeasuredClient>()

/** Frees the threads of every client: whoever waits for one of them comes back, with a failure or with wrong bytes. */
export function freeAllClients(): void {
  for (const client of open) client.free()
}

export class MeasuredClient {
  readonly #options: ClientOptions
  readonly #control: Int32Array<SharedArrayBuffer>
  readonly #touchNs: Float64Array<SharedArrayBuffer>
  readonly #address: number
  #client: FaultClient | undefined
  #lazy: OpenLazyMemory | undefined
  readonly #vcpus: RunningWorker[] = []
  readonly #touchedMs: number[] = []
  #failure: FaultlaneError | undefined
  #onNews: (() => void) | undefined
  #isStarted = false

  private constructor(options: ClientOptions) {
    this.#options = options
    this.#address = reserveMemory(options.bytes)
    open.add(this)
    const words = VCPU_CONTROL.FIRST + options.vcpus * VCPU_CONTROL.WORDS_PER_VCPU
    this.#control = new Int32Array(new SharedArrayBuffer(4 * words))
    this.#touchNs = new Float64Array(new SharedArrayBuffer(8 * options.order.length))
  }

  /** Starts the vCPUs and lets them get warm. There is no memory before touch(). */
  static async open(options: ClientOptions): Promise<MeasuredClient> {
    const self = new MeasuredClient(options)
    try {
      await self.#startVcpus()
      return self
    } catch (error) {
      await self.close()
      throw error
    }
  }

  /** Hands the memory over and lets the vCPUs go through the order at once; resolves when all have. */
  async touch(memory: ClientMemory): Promise<void> {
    const { bytes, vcpus } = this.#options
    const address = this.#address
    let start: VcpuStart
    if ('lazy' in memory) this.#lazy = memory.lazy
    if ('lazy' in memory) start = { kind: 'lazy', share: memory.lazy.share }
    else {
      this.#client = new FaultClient({ bytes, address, ...memory })
      start = { kind: 'mapped' }
    }
    this.#isStarted = true
    for (const vcpu of this.#vcpus) vcpu.post(start)
    while (this.#touchedMs.length < vcpus) {
      if (this.#failure) throw this.#failure
      await new Promise<void>((resolve) => {
        this.#onNews = resolve
      })
    }
  }

  /** Checks all other pages, which must be there, ends the vCPUs, and says what they saw. */
  async sweep(): Promise<void> {
    this.#enter(VCPU_PHASE.SWEEP)
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.ended))
    if (this.#failure) throw this.#failure
  }

  figures(): ClientFigures {
    return {
      stalls: stallFigures(this.#touchNs, this.#min(VCPU_CONTROL.FIRST_TOUCH)),
      elapsedMs: Math.max(...this.#touchedMs),
      checkedPages: this.#sum(VCPU_CONTROL.CHECKED),
      corruptPages: this.#sum(VCPU_CONTROL.CORRUPT),
    }
  }

  /** For whoever reports no corrupt pages: throws when there are any. */
  expectNoneCorrupt(): void {
    const { checkedPages, corruptPages } = this.figures()
    if (corruptPages === 0) return
    const reason = `${corruptPages} of ${checkedPages} pages held wrong bytes`
    throw new FaultlaneError({ code: 'CHILD_FAILED', name: 'the client', reason })
  }

  /** Touches so far: for whoever shows progress. */
  touched(): number {
    return this.#sum(VCPU_CONTROL.TOUCHED)
  }

  /** Ends the vCPUs and takes the memory away. Safe at any time and more than once. */
  async close(): Promise<void> {
    if (!this.#isStarted) for (const vcpu of this.#vcpus) vcpu.post({ kind: 'none' } satisfies VcpuStart)
    this.free()
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.ended))
    if (this.#client) this.#client.close()
    else if (open.has(this)) libc().munmap(this.#address, this.#options.bytes)
    open.delete(this)
  }

  /** Frees threads that stand at a page which nobody brings any more: only the kernel, or the memory's end, can. */
  free(): void {
    this.#enter(VCPU_PHASE.END)
    if (!this.#isStarted || this.#touchedMs.length === this.#vcpus.length) return
    if (this.#client) this.#unregister(this.#client)
    this.#lazy?.memory.close()
  }

  async #startVcpus(): Promise<void> {
    const { vcpus, order, thinkNs, bytes } = this.#options
    for (let index = 0; index < vcpus; index++) {
      const plan: VcpuPlan = {
        index,
        vcpuCount: vcpus,
        address: this.#address,
        pageCount: bytes / PAGE_BYTES,
        order,
        touchNs: this.#touchNs,
        thinkNs,
        control: this.#control,
      }
      this.#vcpus.push(spawnWorker('vcpu', plan, (message) => this.#hear(message)))
    }
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.ready))
  }

  #hear(message: WorkerMessage): void {
    if (message.kind === 'touched') this.#touchedMs.push(message.elapsedMs)
    if (message.kind === 'failed') this.#failure ??= new FaultlaneError(message.failure)
    this.#onNews?.()
  }

  #enter(phase: number): void {
    Atomics.store(this.#control, VCPU_CONTROL.PHASE, phase)
    Atomics.notify(this.#control, VCPU_CONTROL.PHASE)
  }

  #unregister({ userfaultfd, address, bytes }: FaultClient): void {
    const hi = Math.floor(address / 2 ** 32)
    new Userfaultfd(userfaultfd.fd).unregister(hi, address % 2 ** 32, bytes)
  }

  #sum(word: number): number {
    return this.#values(word).reduce((sum, value) => sum + value, 0)
  }

  #min(word: number): number {
    return Math.min(...this.#values(word))
  }

  /** Of each vCPU. */
  #values(word: number): number[] {
    return Array.from({ length: this.#options.vcpus }, (_, i) =>
      Atomics.load(this.#control, VCPU_CONTROL.FIRST + i * VCPU_CONTROL.WORDS_PER_VCPU + word),
    )
  }
}
