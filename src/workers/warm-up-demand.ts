/**
 * Runs a demand agent through whole sessions with itself as the client, on scratch memory and a scratch source in
 * the same thread, until the compiler has seen it: the first calls of a program run in the interpreter, and the
 * first fault must not. Nothing crosses the real channel.
 */
import type { Clock } from '../clock.ts'
import { encodeHandshake } from '../fault/handshake-parse.ts'
import { rehearseHandshake } from '../fault/rehearsal.ts'
import { UffdFaults } from '../fault/uffd-faults.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../fault/userfaultfd-open.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import type { ClientListener } from '../lane/client-intake.ts'
import { DemandAgent } from '../lane/demand-agent.ts'
import { DemandLane } from '../lane/demand-lane.ts'
import { allocateNeighbours, Neighbours } from '../lane/neighbours.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../lane/stats.ts'
import { PAGE, PageTable } from '../memory/page-table.ts'
import { AF, MADV, MAP, OPEN, PROT, SOCK, UFFD } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { EventFd } from '../native/event-fd.ts'
import { check, libc } from '../native/libc.ts'
import { DescriptorMessages, WOULD_BLOCK } from '../native/unix-socket.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { NO_RECORD } from '../ring/layout.ts'
import { RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { collectYoungGarbage } from './collect-garbage.ts'
import { letCompile, withEagerCompiler, withFeedback } from './eager-compiler.ts'
import { makeDemandWait } from './giving-way.ts'
import { Roaming } from './roaming.ts'
import { runAgent } from './run-agent.ts'
import { countFar, locateFarPage, PAGE_BYTES, ScratchRoad, TURNS_PER_RUN } from './scratch-road.ts'
import type { WaitMode } from './wait.ts'

/** How much of everything happens in a life (eager-compiler.ts). */
interface Life {
  readonly pages: number
  readonly sessions: number
  readonly faultRounds: number
}

const FIRST: Life = { pages: 16, sessions: 2, faultRounds: 2 }
const LAST: Life = { pages: 64, sessions: 8, faultRounds: 10 }
/** Where memory may lie: clients' addresses have low halves of 31 and of 32 bits, which are different numbers to the compiler. */
const HINTS = [0x5000_4000_0000, 0x5000_c000_0000]
/** Turns between two faults: some find nothing to do, as in earnest, and one sleeps. */
const TURNS_PER_FAULT = 5
/** What a turn moves when many threads stand still. */
const LONG_WORK = 64
/** Turns that a session may take, with room to spare: bounded whatever goes wrong. */
const TURNS_MAX = 4 * LAST.pages * TURNS_PER_FAULT

export interface WarmUpOptions {
  readonly clock: Clock
  readonly wait: WaitMode
  /** The agent will choose its processor while it works. */
  readonly mayRoam: boolean
  /** The agent is one of several in its process. */
  readonly hasNeighbours: boolean
  /** Of this program. */
  readonly rehearsals: Int32Array
  /** Asked between two sessions: nobody needs it any more. */
  readonly isStopped: () => boolean
}

export function warmUpDemand(options: WarmUpOptions): void {
  libc().close(openUserfaultfd(0).fd) // First: where there is none, nothing else is made.
  rehearseHandshake(2)
  withFeedback(options.rehearsals, () => live(FIRST, options))
  withEagerCompiler(options.rehearsals, () => {
    live(LAST, options)
    letCompile()
  })
  collectYoungGarbage()
}

function live(life: Life, { clock, wait, mayRoam, hasNeighbours, isStopped }: WarmUpOptions): void {
  if (isStopped()) return
  const { pages, sessions } = life
  const road = new ScratchRoad(pages)
  const channel = road.open('demand')
  const bytes = pages * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const addresses = HINTS.map((hint) =>
    check(libc().mmap(hint, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'warm-up'),
  )
  const board = new Board(allocateBoard())
  const table = PageTable.allocate(pages)
  const counters = new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length))
  locateFarPage(board.regions)
  countFar(counters)
  const stalls = new LatencyHistogram(LatencyHistogram.allocate())
  const promotedWaits = new LatencyHistogram(LatencyHistogram.allocate())
  for (let i = 1; i <= 10; i++) stalls.record(i * 1e9) // Sums leave 31 bits within seconds, and so may the longest stall.
  const hints = new RingProducer(board.memory.hints)
  const neighbours = hasNeighbours ? new Neighbours(allocateNeighbours(2), 0) : undefined
  // The same properties in the same order as in earnest: to the compiler other ones are another kind of thing.
  const lane = new DemandLane(channel, {
    table,
    board,
    hints,
    counters,
    stalls,
    promotedWaits,
    clock,
    asksTwice: false,
    settlesLate: true,
    neighbours,
  })
  const bell = new EventFd()
  const prefaultBell = board.prefaultBell({ signal: () => bell.signal(), sleep: () => {} })
  const listener = new PairListener()
  const agent = new DemandAgent({
    listener,
    table,
    board,
    lane,
    sharedPrefault: undefined,
    hasPrefaultAgent: false,
    reopen: () => channel,
    channel,
    dataExtents: Uint32Array.of(0, pages),
    bell,
    prefaultBell,
    clock,
    onLoss: 'wait',
    keep: true,
    onCrowd: hasNeighbours ? () => {} : undefined,
    counters,
    prefaultCounters: new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length)),
    stalls,
    promotedWaits,
    notify: () => {},
  })
  const told = new RingConsumer(board.memory.hints)
  const sleep = (ms: number) => {
    bell.signal() // Nobody else would end it.
    agent.park(ms)
  }
  // As in earnest the loop is handed other functions than the last time.
  const otherSleep = (ms: number) => sleep(ms)
  const signal = () => bell.signal()
  const doorbell = board.demandBell({ signal, sleep })
  const otherDoorbell = board.demandBell({ signal, sleep: otherSleep })
  const faults = counters.indexOf('faults')
  const makeStrategy = (spinNs?: number) => {
    const inner = makeDemandWait(wait, clock, true, spinNs)
    return mayRoam
      ? new Roaming(
          inner,
          clock,
          () => counters.read(faults),
          () => {},
        )
      : inner
  }
  const [patient, impatient] = [makeStrategy(), makeStrategy(0)]
  for (let session = 0; session < sessions && !isStopped(); session++) {
    const address = addresses[session % 2] as number
    const isOdd = session % 2 === 1
    const pagesOfClient = isOdd ? pages >> 1 : pages // Then it hangs up.
    let client = listener.connect(address, bytes)
    prefaultBell.announce()
    for (const each of [patient, impatient]) each.shouldPark(LONG_WORK) // It gives way.
    let turns = 0
    let page = 0
    const hangUp = () => {
      if (client >= 0) libc().close(client)
      client = -1
    }
    const step = (): boolean => {
      bringPromoted(table, board)
      if (agent.hasSession && page < pagesOfClient && turns % TURNS_PER_FAULT === 0) {
        if (isInFlight(page)) table.tryMove(page, PAGE.MISSING, PAGE.PREFAULTING)
        lane.onFault(page++)
      }
      if (isOdd && page === pagesOfClient && lane.pending === 0) hangUp()
      road.turnSource()
      if (told.peek() !== NO_RECORD) told.release()
      return ++turns % TURNS_PER_RUN === 0
    }
    const otherStep = (): boolean => step()
    do {
      if (isOdd) runAgent(agent, otherDoorbell, impatient, otherStep)
      else runAgent(agent, doorbell, patient, step)
    } while (turns < TURNS_MAX && (page < pagesOfClient || agent.hasSession))
    hangUp()
    libc().madvise(address, bytes, MADV.DONTNEED)
    if (life === LAST) letCompile()
  }
  if (!isStopped())
    rehearseFaults(life, lane, board, table, road, hints, told, addresses[(sessions - 1) % 2] as number)
  agent.stop()
  bell.close()
  road.close()
  for (const address of addresses) libc().munmap(address, bytes)
}

/** Pages that prefault would have in flight when they are touched. */
function isInFlight(page: number): boolean {
  return page % 4 === 3
}

/** Says of a page that somebody waits for that prefault has brought it. */
function bringPromoted(table: PageTable, board: Board): void {
  const page = table.find(PAGE.PROMOTED, 0, table.pageCount)
  if (page < table.pageCount && table.tryMove(page, PAGE.PROMOTED, PAGE.PRESENT)) board.settle(1)
}

/** Faults as they are read: through a pipe, because a real one would stop this very thread. */
function rehearseFaults(
  { pages, faultRounds }: Life,
  lane: DemandLane,
  board: Board,
  table: PageTable,
  road: ScratchRoad,
  hints: RingProducer,
  told: RingConsumer,
  address: number,
): void {
  const pipe = new NativeBuffer(8)
  check(libc().pipe2(pipe.address, OPEN.NONBLOCK | OPEN.CLOEXEC), 'pipe2', 'warm-up')
  const [end, entry] = [pipe.i32[0] as number, pipe.i32[1] as number]
  const { fd } = openUserfaultfd(0)
  const bytes = pages * PAGE_BYTES
  registerMissing(fd, address, bytes)
  const faults = new UffdFaults(new Userfaultfd(end), board.regions, board.readingWord, board.placingWord)
  const none = new UffdFaults(new Userfaultfd(fd), board.regions, board.readingWord, board.placingWord)
  lane.begin(faults, new UffdPlacer(new Userfaultfd(fd), board.regions))
  const event = new NativeBuffer(UFFD.MSG_BYTES)
  event.u8[0] = UFFD.EVENT_PAGEFAULT
  for (let round = 0; round < faultRounds; round++) {
    table.reset(0, pages, PAGE.MISSING)
    libc().madvise(address, bytes, MADV.DONTNEED)
    const isTold = round % 2 === 0
    if (isTold) while (told.peek() !== NO_RECORD) told.release()
    else while (hints.tryClaim() !== NO_RECORD) hints.commit() // With nobody to tell, the ring is full before long.
    for (let page = 0; page < pages; page++) {
      event.setU64(16, address + page * PAGE_BYTES)
      libc().write(entry, event.address, UFFD.MSG_BYTES)
      if (isInFlight(page)) table.tryMove(page, PAGE.MISSING, PAGE.PREFAULTING)
      if (page % 2 === 0) {
        board.tryBeginPlacing() // As prefault does: how many faults there are is asked first.
        none.pollFaults(lane)
      }
      lane.doWork(false, true)
      board.endPlacing()
      bringPromoted(table, board)
      road.turnSource()
      lane.doWork(true, true)
      libc().write(entry, event.address, UFFD.MSG_BYTES) // Another thread's, on what is there or under way.
      lane.doWork(false, true)
      if (isTold && told.peek() !== NO_RECORD) told.release()
    }
  }
  lane.end()
  for (const each of [faults, none]) each.close()
  for (const each of [end, entry, fd]) libc().close(each)
}

/** Clients of one process by socket pairs: nothing of them is in the file system. */
class PairListener implements ClientListener {
  readonly fd = -1
  readonly file = undefined
  #waiting = WOULD_BLOCK
  readonly #pair = new NativeBuffer(8)
  readonly #messages = new DescriptorMessages()

  /** A client that hands over its memory; the end that keeps it alive. */
  connect(address: number, bytes: number): number {
    const type = SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC
    check(libc().socketpair(AF.UNIX, type, 0, this.#pair.address), 'socketpair', 'warm-up')
    const [client, agent] = [this.#pair.i32[0] as number, this.#pair.i32[1] as number]
    const { fd } = openUserfaultfd(0)
    registerMissing(fd, address, bytes)
    const body = new TextEncoder().encode(
      encodeHandshake([{ base: BigInt(address), bytes, offset: 0 }], PAGE_BYTES),
    )
    const buffer = new NativeBuffer(body.length)
    buffer.u8.set(body)
    this.#messages.send(client, buffer.address, body.length, [fd])
    libc().close(fd) // The agent's copy is under way.
    this.#waiting = agent
    return client
  }

  tryAccept(): number {
    const agent = this.#waiting
    this.#waiting = WOULD_BLOCK
    return agent
  }

  close(): void {}
}
