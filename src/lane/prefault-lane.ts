/**
 * The prefault lane: fetches pages nobody waits for yet, in the gaps that demand leaves. Owned by the prefault
 * agent, in a thread of its own, with a channel of its own; it holds nothing that a demand fault could wait for.
 */
import type { Clock } from '../clock.ts'
import { PLACED, type Placer } from '../fault/fault-source.ts'
import { PAGE, type PageTable } from '../memory/page-table.ts'
import type { PrefaultPolicy } from '../prefault/policy.ts'
import type { Window } from '../prefault/window.ts'
import type { Counters } from '../ring/counters.ts'
import { NO_RECORD } from '../ring/layout.ts'
import type { RingConsumer } from '../ring/spsc-ring.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../transport/transport.ts'
import type { Board } from './board.ts'
import { Deferred } from './deferred.ts'
import type { Neighbours } from './neighbours.ts'
import type { Resting } from './rests.ts'
import { RunPlacer } from './run-placer.ts'
import type { PrefaultCounter } from './stats.ts'

/** One where prefault rests in between: a rest comes at the end of a turn. */
const COMPLETIONS_PER_TURN_MAX = 2
const READS_PER_TURN_MAX = 16
const DEFERRED_PAGES = 256
/** Turns without a fault after which demand is no longer about. */
const QUIET_TURNS = 64
/** Pages looked at in one turn for one that is missing: about 50 µs of scanning. */
const SCAN_PAGES_MAX = 1 << 16

export interface PrefaultLaneParts {
  readonly table: PageTable
  readonly board: Board
  readonly hints: RingConsumer
  readonly policy: PrefaultPolicy
  readonly window: Window
  readonly counters: Counters<PrefaultCounter>
  /** With the same zero as the demand lane's: what is told on the board is told in its time. */
  readonly clock: Clock
  /** Pages of one read at most. */
  readonly readPagesMax: number
  /** False: a run is placed in its order and in one call, whoever waits for what of it (level `awaited`). Default: true. */
  readonly placesAwaitedFirst?: boolean
  /** Other clients of the process, whose faults are heeded as this one's; undefined: there are none, or level `neighbours` is off. */
  readonly neighbours?: Neighbours | undefined
  /** Sleeps as shortly as can be: the demand agent may be in the way and not running. Default: does nothing. */
  readonly pause?: () => void
  /** Called when a page that a demand fault waits for has been placed, or lost. */
  readonly onPromotedDone: () => void
}

export class PrefaultLane implements CompletionSink, Resting {
  /**
   * The kernel refuses to place for this client. Nothing more is asked for, and what was is given up: whoever waits
   * for such a page is the demand lane's, which finds out for itself whether there is a client.
   */
  isClientGone = false
  readonly #parts: PrefaultLaneParts
  readonly #table: PageTable
  readonly #count: Record<PrefaultCounter, number>
  readonly #deferred: Deferred
  readonly #readPagesMax: number
  readonly #placesAwaitedFirst: boolean
  readonly #pageBytes: number
  #channel: Channel
  #placer: Placer | undefined
  // Reads in flight: the work id is the index.
  readonly #workFirst: Int32Array
  readonly #workPages: Int32Array
  readonly #workOwed: Int32Array
  readonly #workStartNs: Float64Array
  /** Of a client that is gone: thrown away when it comes, whoever is the client then. */
  readonly #workIsStale: Uint8Array
  readonly #freeWork: Int32Array
  #freeWorkCount = 0
  #bytesInFlight = 0
  #bytesShown = 0
  #scannedInVain = 0
  #quietTurns = 0
  #completionsPerTurn = COMPLETIONS_PER_TURN_MAX
  #faultsElsewhere = 0
  readonly #runPlacer: RunPlacer
  /** Up to when the time with reads in flight has been counted. */
  #activeUntilNs = 0

  constructor(channel: Channel, parts: PrefaultLaneParts) {
    this.#channel = channel
    this.#parts = parts
    this.#table = parts.table
    this.#pageBytes = channel.info.pageSize
    this.#readPagesMax = Math.min(channel.readPagesMax, parts.readPagesMax)
    this.#placesAwaitedFirst = parts.placesAwaitedFirst ?? true
    this.#runPlacer = new RunPlacer({
      table: parts.table,
      board: parts.board,
      clock: parts.clock,
      pageBytes: this.#pageBytes,
      pause: parts.pause ?? (() => {}),
      settle: (firstPage, pageCount) => this.#settleRun(firstPage, pageCount, PAGE.PRESENT),
    })
    this.#deferred = new Deferred(
      parts.clock,
      this.#pageBytes,
      // Two reads: one page that the kernel will not take must not keep the next read from being polled for.
      Math.max(2 * this.#readPagesMax, DEFERRED_PAGES >> 1),
    )
    this.#count = Object.fromEntries(
      parts.counters.names.map((name) => [name, parts.counters.indexOf(name)]),
    ) as never
    const credits = channel.creditsMax
    this.#workFirst = new Int32Array(credits)
    this.#workPages = new Int32Array(credits)
    this.#workOwed = new Int32Array(credits)
    this.#workStartNs = new Float64Array(credits)
    this.#workIsStale = new Uint8Array(credits)
    this.#freeWork = new Int32Array(credits)
    this.#resetWork()
  }

  begin(placer: Placer): void {
    this.#placer = placer
    this.isClientGone = false
    this.#scannedInVain = 0
    while (this.#parts.hints.peek() !== NO_RECORD) this.#parts.hints.release()
  }

  /** Lets go of the client; reads still in flight are thrown away when they come. */
  end(): void {
    this.#showBytes()
    this.#placer = undefined
    this.#deferred.clear()
    this.#workIsStale.fill(1)
  }

  get readsInFlight(): number {
    return this.#workFirst.length - this.#freeWorkCount
  }

  /** Replies that it can take, should the kernel take none of their pages. */
  get repliesRoom(): number {
    return Math.floor(this.#deferred.room / this.#readPagesMax)
  }

  /** True when the lane has asked for everything that is missing. */
  get isDrained(): boolean {
    return this.#scannedInVain >= this.#table.pageCount
  }

  /** True when a turn can do something that no file descriptor will announce. */
  get hasOwnWork(): boolean {
    return this.#deferred.count > 0
  }

  takeRest(): boolean {
    this.#completionsPerTurn = this.#parts.window.takeRest() ? 1 : COMPLETIONS_PER_TURN_MAX
    return this.#completionsPerTurn === 1
  }

  get waiting(): number {
    const { board, neighbours } = this.#parts
    return board.pending() + (neighbours?.pendingElsewhere() ?? 0)
  }

  get isAwaited(): boolean {
    return this.#parts.board.promoted() > 0
  }

  /** One turn: bounded, never blocking. Returns how much moved; 0 is idle. */
  doWork(): number {
    let work = 0
    const { hints, policy, board } = this.#parts
    if (board.pending() > 0) this.#quietTurns = 0
    else if (this.#quietTurns < QUIET_TURNS) this.#quietTurns++
    for (let at = hints.peek(); at !== NO_RECORD; at = hints.peek()) {
      const page = hints.words[at] as number
      this.#parts.window.onDemand(this.#parts.clock.nowNs(), policy.isNear(page))
      policy.onFault(page)
      hints.release()
      this.#scannedInVain = 0
      this.#quietTurns = 0
    }
    const faultsElsewhere = this.#parts.neighbours?.faultsElsewhere() ?? 0
    if (faultsElsewhere !== this.#faultsElsewhere) {
      this.#faultsElsewhere = faultsElsewhere
      this.#parts.window.onDemand(this.#parts.clock.nowNs(), false, true)
    }
    const answeredNs = board.takeAnswered()
    if (answeredNs > 0) this.#parts.window.onDemandAnswered(answeredNs)
    if (this.#deferred.count > 0) work += this.#retryDeferred()
    if (this.readsInFlight > 0 && this.repliesRoom > 0) {
      work += this.#channel.poll(this, Math.min(this.#completionsPerTurn, this.repliesRoom))
      this.#showBytes()
    }
    if (this.#placer && !this.isClientGone) work += this.#postReads()
    return work
  }

  #postReads(): number {
    const { board, window, clock, neighbours } = this.#parts
    const pendingElsewhere = neighbours?.pendingElsewhere() ?? 0
    let posted = 0
    while (posted < READS_PER_TURN_MAX && this.#freeWorkCount > 0) {
      const nowNs = clock.nowNs()
      // Prefault lives in the gaps: one thread stopped on a page outranks any number of guesses.
      const free = window.bytes(board.pending() + pendingElsewhere, nowNs) - this.#bytesInFlight
      const pages = Math.min(window.readPages(this.#readPagesMax, nowNs), Math.floor(free / this.#pageBytes))
      if (pages < 1) {
        this.#parts.counters.add(this.#count.gated, 1)
        break
      }
      if (!this.#postNext(pages, nowNs)) break
      posted++
    }
    if (posted > 0) this.#channel.flush()
    return posted
  }

  /** Claims the next run of missing pages and asks for it; false when nothing is missing or the channel says no. */
  #postNext(pagesMax: number, nowNs: number): boolean {
    const table = this.#table
    const policy = this.#parts.policy
    if (this.isDrained || this.#channel.credits === 0) return false
    let from = policy.cursor()
    if (from >= table.pageCount) from = 0
    const scanEnd = Math.min(table.pageCount, from + SCAN_PAGES_MAX)
    const first = table.find(PAGE.MISSING, from, scanEnd)
    this.#scannedInVain += first - from
    if (first === scanEnd) {
      policy.advance(scanEnd)
      return false
    }
    const pages = table.moveRun(first, pagesMax, PAGE.MISSING, PAGE.PREFAULTING)
    policy.advance(first + Math.max(1, pages))
    if (pages === 0) return true // Demand was first; look further in the next round.
    this.#scannedInVain = 0
    if (this.readsInFlight === 0) this.#activeUntilNs = nowNs
    // Written down before it is posted: should the channel turn out to be broken, the read is taken back as all others.
    const workId = this.#freeWork[--this.#freeWorkCount] as number
    this.#workFirst[workId] = first
    this.#workPages[workId] = pages
    this.#workOwed[workId] = pages
    this.#workStartNs[workId] = nowNs
    this.#workIsStale[workId] = 0
    if (!this.#channel.tryPostRead(workId, first, pages)) {
      this.#freeWorkCount++
      for (let page = first; page < first + pages; page++) this.#giveBack(page)
      return false
    }
    this.#bytesInFlight += pages * this.#pageBytes
    this.#parts.counters.add(this.#count.reads, 1)
    return true
  }

  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    this.#workOwed[workId] = (this.#workOwed[workId] as number) - pageCount
    if (this.#workOwed[workId] === 0) {
      const bytes = (this.#workPages[workId] as number) * this.#pageBytes
      const nowNs = this.#parts.clock.nowNs()
      this.#freeWork[this.#freeWorkCount++] = workId
      this.#bytesInFlight -= bytes
      const activeUs = Math.floor((nowNs - this.#activeUntilNs) / 1000)
      this.#parts.counters.add(this.#count.activeUs, activeUs)
      this.#activeUntilNs += activeUs * 1000
      this.#parts.window.onCompletion(bytes, nowNs - (this.#workStartNs[workId] as number), nowNs)
    }
    if (!this.#placer || this.#workIsStale[workId] === 1) {
      // Asked for by a client that is gone: no other is charged with it.
      if (kind === COMPLETION.CONTENT) this.#bytesShown += pageCount * this.#pageBytes
      return
    }
    if (kind === COMPLETION.ERROR) {
      this.#loseRun(firstPage, pageCount, this.#count.errors)
      return
    }
    if (this.isClientGone) {
      this.#loseRun(firstPage, pageCount, this.#count.refused)
      return
    }
    if (kind === COMPLETION.ZERO) {
      this.#settleRun(firstPage, pageCount, PAGE.ZERO)
      return
    }
    this.#placeRun(firstPage, pageCount, address)
  }

  /** Places a run, or keeps it where the demand agent is in the way: prefault waits for demand, never the other way. */
  #placeRun(firstPage: number, pageCount: number, address: number): void {
    const placer = this.#runPlacer
    const isWatched = this.#placesAwaitedFirst && this.#quietTurns < QUIET_TURNS
    const done = placer.place(this.#placer as Placer, firstPage, pageCount, address, isWatched)
    if (done === pageCount) return
    if (placer.status === PLACED.GONE) this.isClientGone = true
    for (let i = done; i < pageCount; i++) {
      if (placer.isAhead(firstPage + i)) continue
      if (this.isClientGone) this.#loseRun(firstPage + i, 1, this.#count.refused)
      else this.#deferred.keep(firstPage + i, address + i * this.#pageBytes)
    }
    if (this.isClientGone)
      this.#giveUp(firstPage, 0) // Those kept of other runs.
    else this.#parts.counters.add(this.#count.again, 1)
  }

  /** Says of pages that they are here, placed or known to be zero; those that a thread waits for are seen to one by one. */
  #settleRun(firstPage: number, pageCount: number, to: typeof PAGE.PRESENT | typeof PAGE.ZERO): void {
    const isZero = to === PAGE.ZERO
    for (let done = 0; done < pageCount; done++) {
      const run = this.#table.moveRun(firstPage + done, pageCount - done, PAGE.PREFAULTING, to)
      if (run > 0) {
        this.#parts.counters.add(isZero ? this.#count.zero : this.#count.prefaulted, run)
        this.#parts.board.settle(run)
        done += run
      }
      if (done === pageCount) return
      if (isZero) this.#placePromotedZero(firstPage + done)
      else this.#settlePromoted(firstPage + done)
    }
  }

  #settlePromoted(page: number): void {
    const table = this.#table
    this.#parts.board.arrivals.note(page, this.#parts.clock)
    if (table.tryMove(page, PAGE.PROMOTED, PAGE.PRESENT)) {
      this.#parts.counters.add(this.#count.prefaulted, 1)
      this.#parts.counters.add(this.#count.late, 1)
      this.#parts.board.settle(1)
      this.#parts.onPromotedDone()
    } else if (table.state(page) === PAGE.PRESENT) this.#parts.counters.add(this.#count.duplicate, 1)
  }

  /** A zero page is not placed, it is enough to know; but for this one a thread waits. */
  #placePromotedZero(page: number): void {
    const table = this.#table
    if (table.state(page) !== PAGE.PROMOTED) return
    const placer = this.#placer as Placer
    if (placer.placeZero(page, 1) === 0) {
      if (placer.status === PLACED.GONE) this.#giveUp(page, 1)
      else this.#deferred.keep(page, 0)
      return
    }
    this.#parts.board.arrivals.note(page, this.#parts.clock)
    if (table.tryMove(page, PAGE.PROMOTED, PAGE.PRESENT)) {
      this.#parts.counters.add(this.#count.zero, 1)
      this.#parts.board.settle(1)
      this.#parts.onPromotedDone()
    }
  }

  #retryDeferred(): number {
    if (!this.#deferred.isDue() || !this.#parts.board.tryBeginPlacing()) return 0
    const done = this.#placeDeferred()
    this.#parts.board.endPlacing()
    return done
  }

  #placeDeferred(): number {
    const placer = this.#placer as Placer
    let done = 0
    while (this.#deferred.count > 0) {
      const page = this.#deferred.lastPage()
      const address = this.#deferred.lastAddress()
      if (this.#table.state(page) !== PAGE.REMOVED) {
        const placed = address === 0 ? placer.placeZero(page, 1) : placer.place(page, 1, address)
        if (placed === 0 && placer.status !== PLACED.GONE) {
          this.#parts.counters.add(this.#count.again, 1)
          this.#deferred.backOff()
          break
        }
        if (placed === 0) {
          this.#giveUp(page, 0) // It is among those kept.
          break
        }
        this.#settleRun(page, 1, PAGE.PRESENT)
      }
      this.#deferred.dropLast()
      done++
    }
    return done
  }

  /** The kernel will not place for this client: these pages and those kept are demand's. */
  #giveUp(firstPage: number, pageCount: number): void {
    this.isClientGone = true
    this.#loseRun(firstPage, pageCount, this.#count.refused)
    for (; this.#deferred.count > 0; this.#deferred.dropLast()) {
      this.#loseRun(this.#deferred.lastPage(), 1, this.#count.refused)
    }
  }

  /** Nothing was posted after all, or it broke: a page nobody waits for is missing again, a promoted one is demand's. */
  #giveBack(page: number): void {
    if (this.#table.tryMove(page, PAGE.PREFAULTING, PAGE.MISSING)) return
    this.#lose(page)
  }

  #loseRun(firstPage: number, pageCount: number, counter: number): void {
    this.#parts.counters.add(counter, pageCount)
    for (let page = firstPage; page < firstPage + pageCount; page++) this.#lose(page)
  }

  #lose(page: number): void {
    if (this.#table.tryMove(page, PAGE.PREFAULTING, PAGE.LOST)) return
    if (this.#table.tryMove(page, PAGE.PROMOTED, PAGE.LOST)) this.#parts.onPromotedDone()
  }

  /** The channel has been opened anew. */
  replaceChannel(channel: Channel): void {
    this.#channel = channel
    this.#bytesShown = 0
  }

  /** The channel is broken: what was in flight is missing again. */
  reclaimReads(): void {
    const free = new Set(this.#freeWork.subarray(0, this.#freeWorkCount))
    for (let workId = 0; workId < this.#workFirst.length; workId++) {
      if (free.has(workId) || this.#workIsStale[workId] === 1) continue
      const first = this.#workFirst[workId] as number
      const end = first + (this.#workPages[workId] as number)
      for (let page = first; page < end; page++) this.#giveBack(page)
    }
    this.#scannedInVain = 0
    this.#resetWork()
  }

  #resetWork(): void {
    this.#bytesInFlight = 0
    this.#freeWorkCount = this.#freeWork.length
    for (let i = 0; i < this.#freeWork.length; i++) this.#freeWork[i] = this.#freeWork.length - 1 - i
  }

  #showBytes(): void {
    const bytes = this.#channel.bytesReceived
    if (bytes === this.#bytesShown) return
    this.#parts.counters.add(this.#count.bytesReceived, bytes - this.#bytesShown)
    this.#bytesShown = bytes
  }
}
