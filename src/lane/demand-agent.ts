/**
 * The demand agent: one thread that takes a client in, answers its faults until its memory is complete or it is
 * gone, and lets go. Owns the client's descriptors, the demand lane and the session's phase on the board.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import { type Handshake, HandshakeReceiver, isClientGone } from '../fault/handshake.ts'
import { UffdFaults } from '../fault/uffd-faults.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd, UserfaultfdBuffers } from '../fault/userfaultfd.ts'
import { PAGE, type PageTable } from '../memory/page-table.ts'
import { POLL } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import type { EventFd } from '../native/event-fd.ts'
import { libc } from '../native/libc.ts'
import { PollSet } from '../native/poll-set.ts'
import type { Counters } from '../ring/counters.ts'
import type { Doorbell } from '../ring/doorbell.ts'
import type { LatencyHistogram } from '../ring/histogram.ts'
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import type { Channel, SocketFile } from '../transport/transport.ts'
import type { Board } from './board.ts'
import { PHASE } from './board.ts'
import type { DemandLane } from './demand-lane.ts'
import type { PrefaultLane } from './prefault-lane.ts'
import { type SessionEnd, type SessionReport, waitFigures } from './session-report.ts'
import type { DemandCounter, PrefaultCounter } from './stats.ts'

const SLOT_BELL = 0
const SLOT_SOCKET = 1
const SLOT_FAULTS = 2
const SLOT_CHANNEL = 3
/** While turns follow each other without a park, poll(2) is asked for the rare events this often. */
const TURNS_PER_LOOK = 256
const RECONNECT_MS = 100
/** Doubled for a source whose connections do not last. */
const RECONNECT_MS_MAX = 3200
/** A channel that lived so long was well. */
const CHANNEL_LIVED_NS = 1e9
const RECONNECT_TIMEOUT_MS = 50
/** For the threads whose events were read to wake and say so; microseconds, where a processor is free. */
const RELEASE_MS_MAX = 20
const SIGKILL = 9

export type LossPolicy = 'wait' | 'kill'

/** What the agent tells its process. Plain data: it crosses a thread. */
export type AgentEvent =
  | { readonly kind: 'client'; readonly pid: number; readonly pages: number; readonly regions: number }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'ended'; readonly report: SessionReport }
  | { readonly kind: 'source-lost'; readonly reason: string }
  | { readonly kind: 'source-back' }
  | { readonly kind: 'page-error'; readonly pages: number }

/** Where clients come from: a UnixListener, or what stands for one while the agent is warmed up. */
export interface ClientListener {
  readonly fd: number
  /** What a sudden end of this process leaves behind; undefined: nothing, or nothing any more. */
  readonly file: SocketFile | undefined
  tryAccept(): number
  close(): void
}

export interface DemandAgentParts {
  readonly listener: ClientListener
  readonly table: PageTable
  readonly board: Board
  readonly lane: DemandLane
  /** Set when prefault shares the demand connection and thread (the naive way). */
  readonly sharedPrefault: PrefaultLane | undefined
  /** A prefault agent runs in a thread of its own. */
  readonly hasPrefaultAgent: boolean
  /** Opens the demand channel anew; throws while the source is away. */
  readonly reopen: () => Channel
  readonly channel: Channel
  readonly holes: Uint32Array | null
  readonly bell: EventFd
  readonly prefaultBell: Doorbell | undefined
  readonly clock: Clock
  readonly onLoss: LossPolicy
  readonly keep: boolean
  readonly counters: Counters<DemandCounter>
  readonly prefaultCounters: Counters<PrefaultCounter>
  readonly stalls: LatencyHistogram
  readonly promotedWaits: LatencyHistogram
  readonly notify: (event: AgentEvent) => void
}

interface Session {
  readonly handshake: Handshake
  readonly uffd: Userfaultfd
  readonly faults: UffdFaults
  readonly startedNs: number
  readonly pagesTotal: number
  readonly holePages: number
  end: SessionEnd | undefined
}

/** What had been counted when the last client was gone. */
interface Counts {
  readonly demand: Record<DemandCounter, number>
  readonly prefault: Record<PrefaultCounter, number>
  readonly stalls: LatencySnapshot
  readonly promotedWaits: LatencySnapshot
}

export class DemandAgent {
  readonly role = 'demand'
  /** The agent has done its work: without `keep`, after its first client. */
  isFinished = false
  readonly #parts: DemandAgentParts
  readonly #poll = new PollSet(4)
  readonly #scratch = new NativeBuffer(4096)
  readonly #uffdBuffers = new UserfaultfdBuffers()
  #channel: Channel
  /** Ready for the next client before it comes. */
  #spareReceiver: HandshakeReceiver
  #receiver: HandshakeReceiver | undefined
  #session: Session | undefined
  /** Told once the first faults are on their way: whoever listens would take the processor from them. */
  #untold: AgentEvent | undefined
  #countsBefore: Counts
  #turn = 0
  #lookAtFaults = true
  #lookAtChannel = true
  #lookAtSocket = true
  #isChannelBroken = false
  #reconnectAtNs = 0
  #reconnectMs = 0
  #openedAtNs = 0
  #lossReason = ''

  constructor(parts: DemandAgentParts) {
    this.#parts = parts
    this.#channel = parts.channel
    this.#openedAtNs = parts.clock.nowNs()
    this.#countsBefore = this.#counts()
    this.#spareReceiver = this.#newReceiver()
    this.#poll.set(SLOT_BELL, parts.bell.fd, POLL.IN)
    this.#watch()
    this.#channel.tellSocketFile?.(parts.listener.file)
  }

  get hasSession(): boolean {
    return this.#session !== undefined
  }

  /** Reads in flight or a fault just answered: a reply or a fault may be due within microseconds. */
  get isReplyDue(): boolean {
    return this.#parts.lane.readsInFlight > 0
  }

  get demandDelayUs(): number {
    return this.#parts.lane.demandDelayUs
  }

  doWork(): number {
    const session = this.#session
    if (!session) {
      const work = this.#takeClient()
      return this.#session ? work : work + this.#lookAtSource()
    }
    if (session.end) return this.#letGo(session)
    if ((++this.#turn & (TURNS_PER_LOOK - 1)) === 0) {
      this.#wait(0)
      this.#tell()
    }
    let work = 0
    try {
      if (this.#isChannelBroken) work += this.#reconnect()
      work += this.#parts.lane.doWork(this.#lookAtChannel && !this.#isChannelBroken, this.#lookAtFaults)
      if (this.#parts.sharedPrefault && !this.#isChannelBroken) work += this.#parts.sharedPrefault.doWork()
    } catch (error) {
      this.#onChannelError(error)
      work++
    }
    this.#lookAtFaults = true
    this.#lookAtChannel = true
    if (this.#parts.board.remaining() === 0) this.#end('complete')
    else if (this.#parts.lane.isClientGone || this.#parts.sharedPrefault?.isClientGone)
      this.#end('client-gone')
    else if (this.#lookAtSocket) {
      this.#lookAtSocket = false
      if (isClientGone(session.handshake.socket, this.#scratch)) this.#end('client-gone')
    }
    return work
  }

  hasNews(): boolean {
    const { board, lane } = this.#parts
    const session = this.#session
    if (!session) return false
    if (session.end) return !this.#parts.hasPrefaultAgent || board.isReleased()
    return board.remaining() === 0 || lane.hasPromotedNews()
  }

  /** Sleeps until something may be to do. What poll(2) has not announced, the next turn does not ask for. */
  park(timeoutMs: number): void {
    const { lane, sharedPrefault } = this.#parts
    let ms = timeoutMs
    if (this.#session) {
      if (lane.readsInFlight === 0) this.#tell()
      if (lane.hasOwnWork || sharedPrefault?.hasOwnWork) ms = Math.min(ms, 1)
      if (this.#isChannelBroken) ms = Math.min(ms, RECONNECT_MS / 4)
      if (!this.#isChannelBroken && this.#channel.armForPark()) ms = 0
      if (sharedPrefault && !sharedPrefault.isDrained && lane.pending === 0) ms = 0
    }
    // A source that does not answer is no reason to keep a client's arrival from anybody.
    if (this.#wait(ms) === 0 && ms > 0) this.#tell()
  }

  /** How many descriptors have something to say. */
  #wait(timeoutMs: number): number {
    // Without a client nobody would take what the channel announces, and poll(2) would announce it for ever.
    if (this.#session && !this.#isChannelBroken)
      this.#poll.set(SLOT_CHANNEL, this.#channel.pollFd, this.#channel.pollEvents)
    const ready = this.#poll.wait(timeoutMs)
    if (ready > 0 && this.#poll.revents(SLOT_BELL) !== 0) this.#parts.bell.drain()
    if (this.#poll.revents(SLOT_SOCKET) !== 0) this.#lookAtSocket = true
    if (timeoutMs === 0) return ready
    this.#lookAtFaults = this.#poll.revents(SLOT_FAULTS) !== 0
    this.#lookAtChannel = this.#poll.revents(SLOT_CHANNEL) !== 0 || this.#channel.pollFd === -1
    if (this.#lookAtChannel && this.#parts.lane.readsInFlight === 0 && this.#session) this.#checkIdleChannel()
    return ready
  }

  /** The channel became readable with nothing asked for: the source has closed it. */
  #checkIdleChannel(): void {
    if (this.#isChannelBroken) return
    try {
      this.#channel.poll(this.#parts.lane, 1)
    } catch (error) {
      this.#onChannelError(error)
    }
  }

  /** Without a client nobody waits for the source, but it is told, and dialled again, before the next one comes. */
  #lookAtSource(): number {
    if (this.#isChannelBroken) return this.#reconnect()
    this.#checkIdleChannel()
    return 0
  }

  #watch(): void {
    const handshake = this.#session?.handshake
    this.#poll.set(
      SLOT_SOCKET,
      handshake?.socket ?? this.#receiver?.socket ?? this.#parts.listener.fd,
      POLL.IN,
    )
    this.#poll.set(SLOT_FAULTS, handshake?.userfaultfd ?? -1, POLL.IN)
    this.#poll.set(SLOT_CHANNEL, this.#session && !this.#isChannelBroken ? this.#channel.pollFd : -1, POLL.IN)
  }

  #takeClient(): number {
    if (!this.#receiver) {
      const socket = this.#parts.listener.tryAccept()
      if (socket < 0) return 0
      this.#receiver = this.#spareReceiver
      this.#receiver.begin(socket)
      this.#watch()
    }
    try {
      const handshake = this.#receiver.step()
      if (handshake === 'waiting') return 0
      this.#receiver = undefined
      this.#begin(handshake)
    } catch (error) {
      this.#receiver?.close()
      this.#receiver = undefined
      this.#spareReceiver = this.#newReceiver()
      this.#watch()
      if (!(error instanceof FaultlaneError)) throw error
      this.#parts.notify({ kind: 'refused', reason: error.message })
    }
    return 1
  }

  #begin(handshake: Handshake): void {
    const { table, board, lane, sharedPrefault, clock, holes } = this.#parts
    const pageBytes = this.#channel.info.pageSize
    if (handshake.pageSize !== pageBytes) {
      libc().close(handshake.socket)
      libc().close(handshake.userfaultfd)
      throw new FaultlaneError({
        code: 'GEOMETRY_MISMATCH',
        what: `the client's page size`,
        got: `${handshake.pageSize} bytes`,
        expected: `${pageBytes} bytes (start attach with --page-size ${handshake.pageSize})`,
      })
    }
    if (this.#parts.onLoss === 'kill' && handshake.clientPid <= 0) {
      // kill(2) would take it for a whole process group.
      libc().close(handshake.socket)
      libc().close(handshake.userfaultfd)
      throw new FaultlaneError({
        code: 'HANDSHAKE',
        reason: 'its process id is not visible here, so it could not be killed when the source is lost',
        expected: 'a client of this PID namespace, or --on-loss wait',
      })
    }
    this.#checkIdleChannel() // The source may have gone and come back since the last client.
    const regions = handshake.regions.map((region) => ({
      baseHi: region.baseHi,
      baseLo: region.baseLo,
      firstPage: region.offset / pageBytes,
      pageCount: region.bytes / pageBytes,
    }))
    const pagesTotal = regions.reduce((sum, region) => sum + region.pageCount, 0)
    if (pagesTotal < table.pageCount) table.reset(0, table.pageCount, PAGE.OUTSIDE)
    let holePages = 0
    for (const { firstPage, pageCount } of regions) {
      holePages += resetRegion(table, firstPage, pageCount, holes)
    }
    board.regions.set(pageBytes, regions)
    board.setRemaining(pagesTotal - holePages)
    board.setPending(0)
    const uffd = new Userfaultfd(handshake.userfaultfd, this.#uffdBuffers)
    const faults = new UffdFaults(uffd, board.regions, board.readingWord, board.placingWord)
    lane.begin(faults, new UffdPlacer(uffd, board.regions))
    sharedPrefault?.begin(new UffdPlacer(uffd, board.regions))
    this.#session = {
      handshake,
      uffd,
      faults,
      startedNs: clock.nowNs(),
      pagesTotal,
      holePages,
      end: undefined,
    }
    board.start(handshake.userfaultfd)
    this.#parts.prefaultBell?.wake()
    this.#lookAtFaults = true
    this.#watch()
    this.#untold = { kind: 'client', pid: handshake.clientPid, pages: pagesTotal, regions: regions.length }
  }

  /** Ends the session; the descriptors are closed once the prefault agent has let go of them. */
  #end(end: SessionEnd): void {
    const session = this.#session
    if (!session || session.end) return
    session.end = end
    this.#parts.board.stop()
    this.#parts.prefaultBell?.wake()
  }

  #letGo(session: Session): number {
    const { board, lane, sharedPrefault, keep, notify } = this.#parts
    if (this.#parts.hasPrefaultAgent && !board.isReleased()) return 0
    const end = session.end as SessionEnd
    const { handshake, uffd } = session
    this.#tell()
    if (end === 'complete') {
      for (let i = 0; i < board.regions.count; i++) {
        const region = board.regions.entry(i)
        uffd.unregister(region.baseHi, region.baseLo, region.pageCount * board.regions.pageBytes)
      }
    }
    if (end !== 'client-gone') this.#releaseRemovers(session)
    lane.end()
    sharedPrefault?.end()
    const report = this.#report(session, end)
    session.faults.close()
    libc().close(handshake.userfaultfd)
    libc().close(handshake.socket)
    board.idle()
    this.#session = undefined
    this.#countsBefore = this.#counts()
    this.#spareReceiver = this.#newReceiver()
    this.#watch()
    notify({ kind: 'ended', report })
    if (!keep) this.isFinished = true
    return 1
  }

  /** A thread that gives memory back stands still until its event is read, and nobody reads it after us. */
  #releaseRemovers(session: Session): void {
    const deadlineNs = this.#parts.clock.nowNs() + RELEASE_MS_MAX * 1e6
    while (session.uffd.isChanging() && this.#parts.clock.nowNs() < deadlineNs) session.uffd.readEvents()
  }

  #report(session: Session, end: SessionEnd): SessionReport {
    const since = <Name extends string>(now: Record<Name, number>, before: Record<Name, number>) =>
      Object.fromEntries(
        Object.entries(now).map(([name, value]) => [name, (value as number) - before[name as Name]]),
      ) as Record<Name, number>
    const before = this.#countsBefore
    const now = this.#counts()
    return {
      end,
      elapsedMs: (this.#parts.clock.nowNs() - session.startedNs) / 1e6,
      pageBytes: this.#channel.info.pageSize,
      pagesTotal: session.pagesTotal,
      pagesRemaining: this.#parts.board.remaining(),
      holePages: session.holePages,
      removedRaced: session.faults.racedRemovals,
      demand: since(now.demand, before.demand),
      prefault: since(now.prefault, before.prefault),
      stallNs: waitFigures(now.stalls.since(before.stalls)),
      promotedNs: waitFigures(now.promotedWaits.since(before.promotedWaits)),
    }
  }

  #counts(): Counts {
    const { counters, prefaultCounters, stalls, promotedWaits } = this.#parts
    return {
      demand: counters.snapshot(),
      prefault: prefaultCounters.snapshot(),
      stalls: stalls.snapshot(),
      promotedWaits: promotedWaits.snapshot(),
    }
  }

  #newReceiver(): HandshakeReceiver {
    const { pageCount, pageSize } = this.#channel.info
    return new HandshakeReceiver(pageCount * pageSize, this.#parts.clock)
  }

  #tell(): void {
    const event = this.#untold
    this.#untold = undefined
    if (!event) return
    this.#parts.notify(event)
    // The only client is in: from here on not even SIGKILL leaves a socket file behind.
    if (this.#parts.keep) return
    this.#parts.listener.close()
    this.#channel.tellSocketFile?.(undefined)
  }

  #onChannelError(error: unknown): void {
    if (!(error instanceof FaultlaneError)) throw error
    if (this.#isChannelBroken) return
    this.#isChannelBroken = true
    this.#channel.close()
    this.#parts.lane.reclaimReads()
    this.#parts.sharedPrefault?.reclaimReads()
    this.#parts.notify({ kind: 'source-lost', reason: error.message })
    // At once, but not again and again when each connection breaks as soon as it is used.
    const nowNs = this.#parts.clock.nowNs()
    this.#reconnectMs = nowNs - this.#openedAtNs > CHANNEL_LIVED_NS ? 0 : nextReconnectMs(this.#reconnectMs)
    this.#reconnectAtNs = nowNs + this.#reconnectMs * 1e6
    this.#killForLoss()
    this.#watch()
  }

  #killForLoss(): void {
    const session = this.#session
    if (this.#parts.onLoss !== 'kill' || !session || session.end) return
    libc().kill(session.handshake.clientPid, SIGKILL)
    this.#end('source-lost')
  }

  /** Asks for the source again and again: whoever touches a missing page waits, and never sees a wrong byte. */
  #reconnect(): number {
    if (this.#parts.clock.nowNs() < this.#reconnectAtNs) return 0
    try {
      const channel = this.#parts.reopen()
      if (channel.info.imageId !== this.#channel.info.imageId) {
        channel.close()
        throw new FaultlaneError({
          code: 'GEOMETRY_MISMATCH',
          what: 'image of the source that came back',
          got: channel.info.imageId,
          expected: this.#channel.info.imageId,
        })
      }
      this.#channel = channel
      this.#openedAtNs = this.#parts.clock.nowNs()
      this.#lossReason = ''
      this.#parts.lane.replaceChannel(channel)
      this.#isChannelBroken = false
      channel.tellSocketFile?.(this.#parts.listener.file)
      this.#watch()
      this.#parts.notify({ kind: 'source-back' })
      return 1
    } catch (error) {
      if (!(error instanceof FaultlaneError)) throw error
      this.#reconnectAtNs = this.#parts.clock.nowNs() + Math.max(RECONNECT_MS, this.#reconnectMs) * 1e6
      // Somebody answers, but not our source: said once.
      if (error.code !== 'CONNECT_FAILED' && error.message !== this.#lossReason) {
        this.#lossReason = error.message
        this.#parts.notify({ kind: 'source-lost', reason: error.message })
      }
      this.#killForLoss()
      return 0
    }
  }

  /** Told to stop: ends the session as it is. The client's missing pages stay missing. */
  stop(): void {
    this.#receiver?.close()
    const session = this.#session
    if (session && this.#parts.board.phase() === PHASE.RUNNING) this.#end('stopped')
    for (let wait = 0; this.#session && wait < 200; wait++) if (this.doWork() === 0) this.#poll.wait(1)
    this.#parts.listener.close() // First: whoever sees the channel end finds no file without a listener.
    this.#channel.close()
  }
}

export { RECONNECT_TIMEOUT_MS }

function nextReconnectMs(ms: number): number {
  return Math.min(RECONNECT_MS_MAX, Math.max(RECONNECT_MS, ms * 2))
}

/** Sets a region's pages: MISSING where data may be, ZERO in holes. How many are zero. */
function resetRegion(
  table: PageTable,
  firstPage: number,
  pageCount: number,
  dataExtents: Uint32Array | null,
): number {
  if (!dataExtents) {
    table.reset(firstPage, pageCount, PAGE.MISSING)
    return 0
  }
  table.reset(firstPage, pageCount, PAGE.ZERO)
  const end = firstPage + pageCount
  let data = 0
  for (let i = 0; i < dataExtents.length; i += 2) {
    const from = Math.max(firstPage, dataExtents[i] as number)
    const to = Math.min(end, (dataExtents[i] as number) + (dataExtents[i + 1] as number))
    if (from >= to) continue
    table.reset(from, to - from, PAGE.MISSING)
    data += to - from
  }
  return pageCount - data
}
