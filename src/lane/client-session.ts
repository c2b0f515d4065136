/**
 * One client from its handshake to letting go: owns its socket and its userfaultfd. The lanes work on it from begin()
 * until it has ended and the prefault agent has let go of it; only then are the descriptors closed.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import { type Handshake, isClientGone } from '../fault/handshake.ts'
import { UffdFaults } from '../fault/uffd-faults.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd, type UserfaultfdBuffers } from '../fault/userfaultfd.ts'
import { PAGE, type PageTable } from '../memory/page-table.ts'
import type { NativeBuffer } from '../native/buffer.ts'
import { libc } from '../native/libc.ts'
import type { Doorbell } from '../ring/doorbell.ts'
import type { Board } from './board.ts'
import type { DemandLane } from './demand-lane.ts'
import type { PrefaultLane } from './prefault-lane.ts'
import type { SessionEnd, SessionReport } from './session-report.ts'
import type { SessionTally } from './session-tally.ts'

/** For the threads whose events were read to wake and say so; microseconds, where a processor is free. */
const RELEASE_MS_MAX = 20
const SIGKILL = 9

/** What becomes of the client when the source is lost: its touchers wait, or it is killed. */
export type LossPolicy = 'wait' | 'kill'

export interface ClientSessionParts {
  readonly table: PageTable
  readonly board: Board
  readonly lane: DemandLane
  /** Set when prefault shares the demand connection and thread (the naive way). */
  readonly sharedPrefault: PrefaultLane | undefined
  /** A prefault agent runs in a thread of its own. */
  readonly hasPrefaultAgent: boolean
  readonly prefaultBell: Doorbell | undefined
  /** Runs of pages that may hold data; null: all. */
  readonly dataExtents: Uint32Array | null
  readonly clock: Clock
  readonly onLoss: LossPolicy
}

export class ClientSession {
  readonly handshake: Handshake
  readonly pagesTotal: number
  /** Why it has ended; undefined while it runs. */
  end: SessionEnd | undefined
  readonly #parts: ClientSessionParts
  readonly #pageBytes: number
  readonly #uffd: Userfaultfd
  readonly #faults: UffdFaults
  readonly #startedNs: number
  readonly #holePages: number

  /** Takes the handshake's descriptors over and begins. Throws when the client cannot be served, and has closed them. */
  constructor(
    handshake: Handshake,
    pageBytes: number,
    buffers: UserfaultfdBuffers,
    parts: ClientSessionParts,
  ) {
    const refusal = whyRefused(handshake, pageBytes, parts.onLoss)
    if (refusal) {
      libc().close(handshake.socket)
      libc().close(handshake.userfaultfd)
      throw refusal
    }
    const { table, board, lane, sharedPrefault, clock, dataExtents } = parts
    const regions = handshake.regions.map((region) => ({
      baseHi: region.baseHi,
      baseLo: region.baseLo,
      firstPage: region.offset / pageBytes,
      pageCount: region.bytes / pageBytes,
    }))
    const pagesTotal = regions.reduce((sum, region) => sum + region.pageCount, 0)
    if (pagesTotal < table.pageCount) table.reset(0, table.pageCount, PAGE.OUTSIDE)
    let holePages = 0
    for (const { firstPage, pageCount } of regions)
      holePages += table.resetToImage(firstPage, pageCount, dataExtents)
    board.regions.set(pageBytes, regions)
    board.setRemaining(pagesTotal - holePages)
    board.setPending(0)
    const uffd = new Userfaultfd(handshake.userfaultfd, buffers)
    const faults = new UffdFaults(uffd, board.regions, board.readingWord, board.placingWord)
    lane.begin(faults, new UffdPlacer(uffd, board.regions))
    sharedPrefault?.begin(new UffdPlacer(uffd, board.regions))
    this.handshake = handshake
    this.pagesTotal = pagesTotal
    this.#parts = parts
    this.#pageBytes = pageBytes
    this.#uffd = uffd
    this.#faults = faults
    this.#startedNs = clock.nowNs()
    this.#holePages = holePages
    board.start(handshake.userfaultfd)
    parts.prefaultBell?.wake()
  }

  /** The client's socket has ended. */
  hasHungUp(scratch: NativeBuffer): boolean {
    return isClientGone(this.handshake.socket, scratch)
  }

  /** Ends it; the descriptors stay open until the prefault agent has let go of them. */
  stop(end: SessionEnd): void {
    if (this.end) return
    this.end = end
    this.#parts.board.stop()
    this.#parts.prefaultBell?.wake()
  }

  /** The source is lost, and that was the policy. */
  killClient(): void {
    if (this.end) return
    libc().kill(this.handshake.clientPid, SIGKILL)
    this.stop('source-lost')
  }

  /** After stop(): nobody else touches the client any more. */
  get isReleased(): boolean {
    return !this.#parts.hasPrefaultAgent || this.#parts.board.isReleased()
  }

  /** Once isReleased: lets the client go and closes everything. */
  finish(tally: SessionTally): SessionReport {
    const { board, lane, sharedPrefault, clock } = this.#parts
    const end = this.end as SessionEnd
    if (end === 'complete') this.#unregister()
    if (end !== 'client-gone') this.#releaseRemovers()
    lane.end()
    sharedPrefault?.end()
    const report = {
      end,
      elapsedMs: (clock.nowNs() - this.#startedNs) / 1e6,
      pageBytes: this.#pageBytes,
      pagesTotal: this.pagesTotal,
      pagesRemaining: board.remaining(),
      holePages: this.#holePages,
      removedRaced: this.#faults.racedRemovals,
      ...tally.read(),
    }
    this.#faults.close()
    libc().close(this.handshake.userfaultfd)
    libc().close(this.handshake.socket)
    board.idle()
    return report
  }

  /** The client no longer depends on us. */
  #unregister(): void {
    const { regions } = this.#parts.board
    for (let i = 0; i < regions.count; i++) {
      const region = regions.entry(i)
      this.#uffd.unregister(region.baseHi, region.baseLo, region.pageCount * regions.pageBytes)
    }
  }

  /** A thread that gives memory back stands still until its event is read, and nobody reads it after us. */
  #releaseRemovers(): void {
    const { clock } = this.#parts
    const deadlineNs = clock.nowNs() + RELEASE_MS_MAX * 1e6
    while (this.#uffd.isChanging() && clock.nowNs() < deadlineNs) this.#uffd.readEvents()
  }
}

function whyRefused(
  { pageSize, clientPid }: Handshake,
  pageBytes: number,
  onLoss: LossPolicy,
): FaultlaneError | undefined {
  if (pageSize !== pageBytes) {
    return new FaultlaneError({
      code: 'GEOMETRY_MISMATCH',
      what: `the client's page size`,
      got: `${pageSize} bytes`,
      expected: `${pageBytes} bytes (start attach with --page-size ${pageSize})`,
    })
  }
  if (onLoss === 'kill' && clientPid <= 0) {
    // kill(2) would take it for a whole process group.
    return new FaultlaneError({
      code: 'HANDSHAKE',
      reason: 'its process id is not visible here, so it could not be killed when the source is lost',
      expected: 'a client of this PID namespace, or --on-loss wait',
    })
  }
  return undefined
}
