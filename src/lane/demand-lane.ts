/**
 * The demand lane: turns faults into reads and replies into placed pages, on one thread from end to end. Owned by
 * the demand agent. A fault never waits here for anything but the network, the source and the kernel.
 *
 * A page is asked for once: whoever moves it out of MISSING asks. A fault on a page that prefault has in flight
 * promotes it and waits for that.
 */
import type { Clock } from '../clock.ts'
import { type FaultSink, type FaultSource, PLACED, type Placer } from '../fault/fault-source.ts'
import { PAGE, type PageTable } from '../memory/page-table.ts'
import type { Counters } from '../ring/counters.ts'
import type { LatencyHistogram } from '../ring/histogram.ts'
import { NO_RECORD } from '../ring/layout.ts'
import type { RingProducer } from '../ring/spsc-ring.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../transport/transport.ts'
import type { Board } from './board.ts'
import { Deferred } from './deferred.ts'
import type { Neighbours } from './neighbours.ts'
import { PageQueue } from './page-queue.ts'
import type { DemandCounter } from './stats.ts'

/** A turn is short: placing a page takes some 10 µs, and whoever shares the processor waits meanwhile. */
const COMPLETIONS_PER_TURN_MAX = 8
const DEFERRED_PAGES = 64
/** Faults waiting for a credit, and promoted pages waited for. When full, the kernel keeps the rest of the faults. */
const QUEUE_PAGES = 4096
/** Events of one read: no fault is read that could not be kept. */
const FAULTS_PER_READ_MAX = 64
/** A page that the source could not read is asked for again after this long. */
const RETRY_ERROR_NS = 500e6
/** In place of a page: a read of a client that is gone. */
const NO_PAGE = -1
/** In place of a start: a second request, whose stall is that of the promoted page. */
const SECOND = -1

export interface DemandLaneParts {
  readonly table: PageTable
  readonly board: Board
  readonly hints: RingProducer
  readonly counters: Counters<DemandCounter>
  readonly stalls: LatencyHistogram
  /** Of these, the waits for a page that prefault had in flight, until it was placed. */
  readonly promotedWaits: LatencyHistogram
  /** With the same zero as the prefault lane's. */
  readonly clock: Clock
  /** Called when faults have come on pages that prefault has in flight: it may be resting. */
  readonly onAwaited?: () => void
  /** Called when the last pending demand has been answered: the prefault lane may sleep on that. */
  readonly onQuiet?: () => void
  /** Level `promotion` off: a page that prefault has in flight is asked for a second time, at once. Default: no. */
  readonly asksTwice?: boolean
  /**
   * A page that this lane's own turn has placed is told in the page table, and counted, once the toucher's next fault is on its
   * way. Default: no, whoever reads a page of a LazyMemory may look at the counts next.
   */
  readonly settlesLate?: boolean
  /** Of a handler that is not alone in its process: told what this client waits for. */
  readonly neighbours?: Neighbours | undefined
}

export class DemandLane implements CompletionSink, FaultSink {
  /** The client has gone: nothing more can be placed. */
  isClientGone = false
  readonly #table: PageTable
  readonly #board: Board
  readonly #hints: RingProducer
  readonly #counters: Counters<DemandCounter>
  readonly #stalls: LatencyHistogram
  readonly #promotedWaits: LatencyHistogram
  readonly #clock: Clock
  readonly #onAwaited: (() => void) | undefined
  readonly #onQuiet: (() => void) | undefined
  readonly #count: Record<DemandCounter, number>
  readonly #asksTwice: boolean
  readonly #neighbours: Neighbours | undefined
  readonly #settlesLate: boolean
  /** This lane polls. On a shared channel prefault's poll brings our replies, too, and then no turn of ours need follow. */
  #isPolling = false
  #channel: Channel
  /** Between a broken channel and its successor faults are taken, and nothing is posted. */
  #isCut = false
  #faults: FaultSource | undefined
  #placer: Placer | undefined
  readonly #deferred: Deferred
  readonly #backlog = new PageQueue(QUEUE_PAGES)
  readonly #promoted = new PageQueue(QUEUE_PAGES)
  readonly #failed = new PageQueue(QUEUE_PAGES)
  /** Placed pages and their stalls, not yet in the page table: a toucher may be back before this turn has sent its next fault on. */
  readonly #placed = new PageQueue(QUEUE_PAGES)
  // Reads in flight: the work id is the index.
  readonly #workPage: Int32Array
  readonly #workStartNs: Float64Array
  readonly #freeWork: Int32Array
  #freeWorkCount = 0
  #pendingShown = 0
  #promotedShown = 0
  #bytesShown = 0

  constructor(channel: Channel, parts: DemandLaneParts) {
    this.#channel = channel
    this.#table = parts.table
    this.#board = parts.board
    this.#hints = parts.hints
    this.#counters = parts.counters
    this.#stalls = parts.stalls
    this.#promotedWaits = parts.promotedWaits
    this.#clock = parts.clock
    this.#onAwaited = parts.onAwaited
    this.#onQuiet = parts.onQuiet
    this.#asksTwice = parts.asksTwice ?? false
    this.#neighbours = parts.neighbours
    this.#settlesLate = parts.settlesLate ?? false
    const names = parts.counters.names
    this.#count = Object.fromEntries(names.map((name) => [name, parts.counters.indexOf(name)])) as never
    this.#deferred = new Deferred(parts.clock, channel.info.pageSize, DEFERRED_PAGES)
    this.#workPage = new Int32Array(channel.creditsMax)
    this.#workStartNs = new Float64Array(channel.creditsMax)
    this.#freeWork = new Int32Array(channel.creditsMax)
    this.#resetWork()
  }

  /** Begins with a new client; nothing of the last one is left. */
  begin(faults: FaultSource, placer: Placer): void {
    this.#faults = faults
    this.#placer = placer
    this.isClientGone = false
    this.#backlog.clear()
    this.#promoted.clear()
    this.#failed.clear()
    this.#deferred.clear()
  }

  end(): void {
    if (this.#promoted.count > 0) this.#checkPromoted() // Who came after the last turn has waited, too.
    this.#showPlaced()
    this.#faults = undefined
    this.#placer = undefined
    this.#backlog.clear()
    this.#promoted.clear()
    this.#failed.clear()
    this.#deferred.clear()
    this.#workPage.fill(NO_PAGE) // What is in flight is thrown away when it comes, whoever is the client then.
    this.#showPending()
  }

  /** Pages that threads stand still for. */
  get pending(): number {
    return this.readsInFlight + this.#backlog.count + this.#promoted.count + this.#deferred.count
  }

  get readsInFlight(): number {
    return this.#workPage.length - this.#freeWorkCount
  }

  /** Replies that it can take, should the kernel take none of their pages. */
  get repliesRoom(): number {
    return this.#deferred.room
  }

  /** True when a turn can do something that no file descriptor will announce. */
  get hasOwnWork(): boolean {
    return this.#deferred.count > 0 || this.#failed.count > 0
  }

  /** True when a promoted page has come, or was lost, since the last turn. */
  hasPromotedNews(): boolean {
    for (let i = 0; i < this.#promoted.count; i++) {
      const state = this.#table.state(this.#promoted.pageAt(i))
      if (state !== PAGE.PROMOTED && state !== PAGE.DEMANDED) return true
    }
    return false
  }

  /**
   * One turn. `lookAtChannel` and `lookAtFaults` spare a system call where poll(2) has said there is nothing.
   * Throws what Channel.poll and tryPostRead throw.
   */
  doWork(lookAtChannel: boolean, lookAtFaults: boolean): number {
    let work = 0
    if (lookAtChannel && this.readsInFlight > 0 && this.repliesRoom >= COMPLETIONS_PER_TURN_MAX) {
      this.#isPolling = true
      work += this.#channel.poll(this, COMPLETIONS_PER_TURN_MAX)
      this.#isPolling = false
    }
    if (this.#deferred.count > 0) work += this.#retryDeferred()
    // Whatever breaks, every page that is waited for finds room in the backlog.
    const waitedFor = this.pending + this.#failed.count
    if (lookAtFaults && this.#faults && waitedFor + FAULTS_PER_READ_MAX <= QUEUE_PAGES) {
      const events = this.#faults.pollFaults(this)
      if (events < 0) this.isClientGone = true
      else work += events
    }
    if (this.#promoted.count > 0) work += this.#checkPromoted()
    if (this.#failed.count > 0) work += this.#retryFailed()
    while (this.#backlog.count > 0 && this.#tryPost(this.#backlog.firstPage(), this.#backlog.firstTimeNs())) {
      this.#backlog.dropFirst()
      work++
    }
    if (work > 0) {
      if (!this.#isCut) this.#channel.flush()
      this.#showPlaced()
      this.#showPending()
    }
    return work
  }

  onFault(page: number): void {
    this.#counters.add(this.#count.faults, 1)
    this.#neighbours?.countFault()
    const table = this.#table
    const nowNs = this.#clock.nowNs()
    for (;;) {
      const state = table.state(page)
      switch (state) {
        case PAGE.MISSING:
          if (!table.tryMove(page, PAGE.MISSING, PAGE.DEMANDED)) continue
          this.#hint(page)
          if (this.#backlog.count > 0 || !this.#tryPost(page, nowNs)) {
            this.#backlog.add(page, nowNs)
            this.#counters.add(this.#count.backlogged, 1)
          }
          return
        case PAGE.PREFAULTING:
          if (!table.tryMove(page, PAGE.PREFAULTING, PAGE.PROMOTED)) continue
          this.#hint(page)
          this.#promoted.add(page, nowNs)
          this.#counters.add(this.#count.promoted, 1)
          if (this.#asksTwice) this.#askAgain(page)
          return
        case PAGE.DEMANDED:
        case PAGE.PROMOTED:
          if (this.#showPlaced() > 0) continue
          this.#counters.add(this.#count.joined, 1)
          return
        case PAGE.LOST:
          table.tryMove(page, PAGE.LOST, PAGE.MISSING) // Prefault could not have it; now somebody needs it.
          continue
        case PAGE.ZERO:
        case PAGE.REMOVED:
          this.#placeZero(page)
          return
        default:
          // It has come between the fault and now; whoever placed it woke the thread, but waking twice is safe.
          this.#counters.add(this.#count.spurious, 1)
          this.#placer?.wake(page)
          return
      }
    }
  }

  onRemove(firstPage: number, pageCount: number): void {
    this.#showPlaced()
    const table = this.#table
    let settled = 0
    let removed = 0
    for (let page = firstPage; page < firstPage + pageCount; page++) {
      for (;;) {
        const state = table.state(page)
        if (state === PAGE.OUTSIDE || state === PAGE.REMOVED) break
        if (!table.tryMove(page, state, PAGE.REMOVED)) continue
        removed++
        if (state !== PAGE.PRESENT && state !== PAGE.ZERO) settled++
        break
      }
    }
    if (settled > 0) this.#board.settle(settled)
    this.#counters.add(this.#count.removed, removed)
  }

  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    const page = this.#workPage[workId] as number
    const startNs = this.#workStartNs[workId] as number
    this.#freeWork[this.#freeWorkCount++] = workId
    if (!this.#placer || page !== firstPage) {
      // Its client is gone, and so is its page: no other is charged with it.
      if (kind === COMPLETION.CONTENT) this.#bytesShown += pageCount * this.#channel.info.pageSize
      return
    }
    if (startNs === SECOND) {
      // Too late, or the source could not: prefault's copy is or was the one.
      if (kind === COMPLETION.ERROR || this.#table.state(page) !== PAGE.PROMOTED) return
      const isZero = kind === COMPLETION.ZERO
      if (this.#place(page, isZero ? 0 : address)) this.#settle(page, isZero)
      return
    }
    if (kind === COMPLETION.ERROR) {
      this.#counters.add(this.#count.errors, 1)
      this.#placer.lose(page, 1)
      this.#failed.add(page, this.#clock.nowNs() + RETRY_ERROR_NS)
      return
    }
    const isZero = kind === COMPLETION.ZERO || this.#table.state(page) === PAGE.REMOVED
    const isPlaced = this.#place(page, isZero ? 0 : address)
    const stallNs = this.#clock.nowNs() - startNs
    if (isPlaced && !isZero && this.#settlesLate && this.#isPolling) {
      this.#placed.add(page, stallNs)
      return
    }
    if (isPlaced) this.#settle(page, isZero)
    this.#showStall(stallNs)
  }

  #showStall(stallNs: number): void {
    this.#stalls.record(stallNs)
    this.#board.showAnswered(stallNs)
  }

  /** How many there were. */
  #showPlaced(): number {
    const placed = this.#placed
    const count = placed.count
    while (placed.count > 0) {
      this.#settle(placed.firstPage(), false)
      this.#showStall(placed.firstTimeNs())
      placed.dropFirst()
    }
    return count
  }

  /** The channel has been opened anew: everything that was in flight is asked for again. */
  replaceChannel(channel: Channel): void {
    this.#channel = channel
    this.#isCut = false
    this.#bytesShown = 0
    this.#tellNeighbours()
  }

  /** The channel is broken: what was in flight goes back to the backlog, in its old order. */
  reclaimReads(): void {
    this.#isPolling = false
    this.#showPlaced()
    this.#isCut = true
    const nowNs = this.#clock.nowNs()
    for (let workId = 0; workId < this.#workPage.length; workId++) {
      if (this.#isFree(workId)) continue
      if (this.#workPage[workId] !== NO_PAGE && this.#workStartNs[workId] !== SECOND)
        this.#backlog.add(this.#workPage[workId] as number, this.#workStartNs[workId] ?? nowNs)
    }
    this.#resetWork()
    this.#showPending()
  }

  #isFree(workId: number): boolean {
    for (let i = 0; i < this.#freeWorkCount; i++) if (this.#freeWork[i] === workId) return true
    return false
  }

  #resetWork(): void {
    this.#freeWorkCount = this.#freeWork.length
    for (let i = 0; i < this.#freeWork.length; i++) this.#freeWork[i] = this.#freeWork.length - 1 - i
  }

  #tryPost(page: number, startNs: number): boolean {
    if (this.#isCut || this.#freeWorkCount === 0) return false
    const workId = this.#freeWork[this.#freeWorkCount - 1] as number
    if (!this.#channel.tryPostRead(workId, page, 1)) return false
    this.#freeWorkCount--
    this.#workPage[workId] = page
    this.#workStartNs[workId] = startNs
    return true
  }

  /** Places what has come; false when the kernel does not take it yet, and it is kept. */
  #place(page: number, address: number): boolean {
    const placer = this.#placer as Placer
    const placed = address === 0 ? placer.placeZero(page, 1) : placer.place(page, 1, address)
    if (placed === 1) return true
    if (placer.status === PLACED.AGAIN) {
      this.#counters.add(this.#count.again, 1)
      this.#deferred.keep(page, address)
    } else this.isClientGone = true
    return false
  }

  /** Says in the page table that it is there. */
  #settle(page: number, isZero: boolean): void {
    const table = this.#table
    const isOurs = table.tryMove(page, PAGE.DEMANDED, PAGE.PRESENT)
    if (isOurs || table.tryMove(page, PAGE.PROMOTED, PAGE.PRESENT)) {
      this.#counters.add(isZero ? this.#count.zero : this.#count.demanded, 1)
      this.#board.settle(1)
    } else if (table.state(page) === PAGE.PRESENT) this.#counters.add(this.#count.duplicate, 1)
  }

  /** A page that needs no reading: the toucher gets zeros at once. */
  #placeZero(page: number): void {
    const placer = this.#placer as Placer
    if (placer.placeZero(page, 1) === 1) return
    if (placer.status === PLACED.AGAIN) {
      this.#counters.add(this.#count.again, 1)
      // Without room the thread is woken instead: it faults again, and nothing is forgotten.
      if (this.#deferred.room > 0) this.#deferred.keep(page, 0)
      else placer.wake(page)
    } else this.isClientGone = true
  }

  #retryDeferred(): number {
    if (!this.#deferred.isDue()) return 0
    const placer = this.#placer as Placer
    let done = 0
    while (this.#deferred.count > 0) {
      const page = this.#deferred.lastPage()
      const isRemoved = this.#table.state(page) === PAGE.REMOVED
      const address = isRemoved ? 0 : this.#deferred.lastAddress()
      const placed = address === 0 ? placer.placeZero(page, 1) : placer.place(page, 1, address)
      if (placed === 0) {
        if (placer.status === PLACED.GONE) this.isClientGone = true
        this.#counters.add(this.#count.again, 1)
        this.#deferred.backOff()
        break
      }
      this.#deferred.dropLast()
      this.#settle(page, address === 0)
      done++
    }
    return done
  }

  /** Looks whether pages that prefault had in flight have come; a page that it lost is asked for here. */
  #checkPromoted(): number {
    let done = 0
    for (let n = this.#promoted.count; n > 0; n--) {
      const page = this.#promoted.firstPage()
      const startNs = this.#promoted.firstTimeNs()
      this.#promoted.dropFirst()
      const state = this.#table.state(page)
      if (state === PAGE.PROMOTED || state === PAGE.DEMANDED) {
        this.#promoted.add(page, startNs)
      } else if (state === PAGE.LOST) {
        this.#table.tryMove(page, PAGE.LOST, PAGE.MISSING)
        if (this.#table.tryMove(page, PAGE.MISSING, PAGE.DEMANDED)) this.#backlog.add(page, startNs)
        else this.#promoted.add(page, startNs)
        done++
      } else {
        const waitNs = this.#board.arrivals.timeNs(page, startNs, this.#clock.nowNs()) - startNs
        if (state === PAGE.REMOVED) this.#placeZero(page)
        else this.#promotedWaits.record(waitNs)
        this.#stalls.record(waitNs)
        done++
      }
    }
    return done
  }

  /** Whichever copy comes first is placed, the other is dropped. */
  #askAgain(page: number): void {
    if (this.#backlog.count === 0 && this.#tryPost(page, SECOND)) this.#counters.add(this.#count.hedged, 1)
  }

  #retryFailed(): number {
    if (this.#clock.nowNs() < this.#failed.firstTimeNs()) return 0
    const page = this.#failed.firstPage()
    this.#failed.dropFirst()
    this.#backlog.add(page, this.#clock.nowNs())
    return 1
  }

  #hint(page: number): void {
    const at = this.#hints.tryClaim()
    if (at === NO_RECORD) {
      this.#counters.add(this.#count.hintsLost, 1)
      return
    }
    this.#hints.words[at] = page
    this.#hints.commit()
  }

  /** Nobody's prefault can help a client that is gone, or one whose source is. */
  #tellNeighbours(): void {
    this.#neighbours?.setPending(this.#placer && !this.#isCut ? this.pending : 0)
  }

  #showPending(): void {
    const bytes = this.#channel.bytesReceived
    if (bytes !== this.#bytesShown) {
      this.#counters.add(this.#count.bytesReceived, bytes - this.#bytesShown)
      this.#bytesShown = bytes
    }
    this.#tellNeighbours()
    const promoted = this.#promoted.count
    if (promoted !== this.#promotedShown) {
      this.#board.setPromoted(promoted)
      if (promoted > this.#promotedShown) this.#onAwaited?.()
      this.#promotedShown = promoted
    }
    const pending = this.pending
    if (pending === this.#pendingShown) return
    this.#board.setPending(pending)
    this.#pendingShown = pending
    if (pending === 0 && this.#onQuiet) this.#onQuiet()
  }
}
