/**
 * Runs a prefault agent through whole sessions on scratch memory, with a scratch source in the same thread, until the
 * compiler has seen it. Nothing crosses the real channel. Nobody is to wait for that: it is done once the agent is
 * ready, and ends when a client comes.
 */
import type { Clock } from '../clock.ts'
import { QUIET_READ_PAGES_MAX } from '../config.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../fault/userfaultfd-open.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import { allocateNeighbours, Neighbours } from '../lane/neighbours.ts'
import { PrefaultAgent } from '../lane/prefault-agent.ts'
import { PrefaultLane } from '../lane/prefault-lane.ts'
import type { Rests } from '../lane/rests.ts'
import { PREFAULT_COUNTERS } from '../lane/stats.ts'
import { PAGE, PageTable } from '../memory/page-table.ts'
import { MADV, MAP, PROT } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { EventFd } from '../native/event-fd.ts'
import { check, libc } from '../native/libc.ts'
import { makeNap } from '../native/poll-set.ts'
import { schedulingOf } from '../prefault/schedulings.ts'
import { SequentialPolicy } from '../prefault/sequential.ts'
import { Counters } from '../ring/counters.ts'
import { NO_RECORD } from '../ring/layout.ts'
import { RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { collectYoungGarbage } from './collect-garbage.ts'
import { letCompile, withEagerCompiler } from './eager-compiler.ts'
import { exerciseWindow } from './exercise-window.ts'
import { runAgent } from './run-agent.ts'
import { countFar, locateFarPage, PAGE_BYTES, ScratchRoad, TURNS_PER_RUN } from './scratch-road.ts'
import type { WaitStrategy } from './wait.ts'

/** Of the lives (eager-compiler.ts) once nobody waits for the agent. */
const SESSIONS_OF_LIVES = [2, 12]
/** Some 16 reads a session, of the longest over TCP. With 1024 a slow machine took half a second for all, and clients came before that. */
const PAGES = 512
const PAGES_AT_FIRST = 64
const WINDOW_STEPS = 1200
const WINDOW_STEPS_AT_FIRST = 100
/** Where memory may lie: clients' addresses have low halves of 31 and of 32 bits, which are different numbers to the compiler. */
const HINTS = [0x5100_4000_0000, 0x5100_c000_0000]
/** After every few sessions, for what they have made hot. */
const SESSIONS_PER_PAUSE = 2
/** Replies that come in parts: enough to leave a trace. */
const FLOODS = 2
/** In every other session a fault is told of every so many turns, as a busy client would. */
const TURNS_PER_HINT = 3
/** And of one far from what prefault is about. */
const TURNS_PER_FAR = 12
/** Somebody waits for a page in the midst of others. */
const PAGES_INTO_RUN = 1
const ANSWERED_NS = 50_000
/** Turns that a session may take, with room to spare: bounded whatever goes wrong. */
const TURNS_MAX = 40 * PAGES

/**
 * A short life, before anything real is made: what is made then has the shape that the compiler sees later, and closing,
 * which changes what it takes for constant, is nothing new.
 */
export function warmUpPrefaultBriefly(agent: RehearsedPrefault): void {
  const [pages, windowSteps] = [PAGES_AT_FIRST, WINDOW_STEPS_AT_FIRST]
  live({ ...agent, pages, windowSteps, life: 0, sessions: 1, isStopped: () => false })
}

/**
 * Longer ones, for a thread with nothing to do.
 * @param rehearsals of this program
 * @param isStopped asked every so many turns: there is something to do
 */
export function warmUpPrefault(
  agent: RehearsedPrefault,
  rehearsals: Int32Array,
  isStopped: () => boolean,
): void {
  if (isStopped()) return
  withEagerCompiler(rehearsals, () => {
    for (const [life, sessions] of SESSIONS_OF_LIVES.entries()) {
      if (!isStopped())
        live({ ...agent, pages: PAGES, windowSteps: WINDOW_STEPS, life: life + 1, sessions, isStopped })
    }
  })
  if (!isStopped()) collectYoungGarbage()
}

/** As the agent will be in earnest. */
export interface RehearsedPrefault {
  readonly clock: Clock
  readonly wait: WaitStrategy
  readonly rests: Rests | undefined
  /** It is one of several in its process. */
  readonly hasNeighbours: boolean
}

interface Life extends RehearsedPrefault {
  readonly pages: number
  readonly windowSteps: number
  /** How many there were before. */
  readonly life: number
  readonly sessions: number
  readonly isStopped: () => boolean
}

function live(life: Life): void {
  const { fd } = openUserfaultfd(0) // First: where there is none, nothing else is made.
  try {
    const road = new ScratchRoad(life.pages)
    try {
      rehearse(life, road, fd)
    } finally {
      road.close()
    }
  } finally {
    libc().close(fd)
  }
}

function rehearse(
  { pages, windowSteps, life, sessions, clock, wait, rests, hasNeighbours, isStopped }: Life,
  road: ScratchRoad,
  fd: number,
): void {
  const bytes = pages * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(
    libc().mmap(HINTS[life % 2] as number, bytes, PROT.READ | PROT.WRITE, flags, -1, 0),
    'mmap',
    'warm-up',
  )
  registerMissing(fd, address, bytes)
  const channel = road.open('prefault')
  if (life === 1) for (let i = 0; i < FLOODS; i++) road.flood(channel, isStopped)
  const board = new Board(allocateBoard())
  locateFarPage(board.regions)
  const baseHi = Math.floor(address / 2 ** 32)
  board.regions.set(PAGE_BYTES, [{ baseHi, baseLo: address % 2 ** 32, firstPage: 0, pageCount: pages }])
  const table = PageTable.allocate(pages)
  const bell = new EventFd()
  const demandBell = board.demandBell({ signal: () => bell.signal(), sleep: () => {} })
  const sleep = (ms: number) => {
    bell.signal() // Nobody else would end it.
    agent.park(ms)
  }
  // As in earnest the loop is handed other functions than the last time.
  const otherSleep = (ms: number) => sleep(ms)
  const signal = () => bell.signal()
  const doorbell = board.prefaultBell({ signal, sleep })
  const otherDoorbell = board.prefaultBell({ signal, sleep: otherSleep })
  const setReading = (isReading: 0 | 1) =>
    Atomics.store(board.readingWord.words, board.readingWord.index, isReading)
  const { window: makeWindow } = schedulingOf('S2', [])
  exerciseWindow(makeWindow, PAGE_BYTES, QUIET_READ_PAGES_MAX, windowSteps)
  const window = makeWindow(PAGE_BYTES)
  const counters = new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length))
  countFar(counters)
  const onPromotedDone = () => demandBell.wake()
  const otherOnPromotedDone = () => onPromotedDone()
  const nap = makeNap()
  const pause = () => setReading(0)
  const otherPause = () => {
    nap()
    setReading(0)
  }
  const lane = new PrefaultLane(channel, {
    table,
    board,
    hints: new RingConsumer(board.memory.hints),
    policy: new SequentialPolicy(),
    window,
    counters,
    clock,
    readPagesMax: QUIET_READ_PAGES_MAX,
    placesAwaitedFirst: true,
    neighbours: hasNeighbours ? new Neighbours(allocateNeighbours(2), 0) : undefined,
    pause: life % 2 === 0 ? pause : otherPause,
    onPromotedDone: life % 2 === 0 ? onPromotedDone : otherOnPromotedDone,
  })
  const makePlacer = () => new UffdPlacer(new Userfaultfd(board.userfaultfd()), board.regions)
  const otherMakePlacer = () => makePlacer()
  const agent = new PrefaultAgent({
    board,
    lane,
    channel,
    reopen: () => channel,
    makePlacer: life % 2 === 0 ? makePlacer : otherMakePlacer,
    bell,
    demandBell,
    clock,
    rests,
  })
  const hints = new RingProducer(board.memory.hints)
  const page = new NativeBuffer(PAGE_BYTES, PAGE_BYTES)
  for (let session = 0; session < sessions && !isStopped(); session++) {
    libc().madvise(address, bytes, MADV.DONTNEED)
    table.reset(0, pages, PAGE.MISSING)
    board.setRemaining(pages)
    board.start(fd)
    const isOdd = session % 2 === 1
    let turns = 0
    const step = (): boolean => {
      road.turnSource()
      if (isOdd && turns % TURNS_PER_HINT === 0) touch(table, board, hints)
      // Here every page is near, and whoever only followed would be done in a few turns.
      if (isOdd && turns % TURNS_PER_FAR === 0) {
        window.onDemand(clock.nowNs(), false)
        setReading(1) // It is in the way, for one pause.
      }
      return ++turns % TURNS_PER_RUN === 0
    }
    const otherStep = (): boolean => step()
    const run = () => {
      if (isOdd) runAgent(agent, otherDoorbell, wait, otherStep)
      else runAgent(agent, doorbell, wait, step)
    }
    while (turns < TURNS_MAX && board.remaining() > 0 && !isStopped()) run()
    board.stop()
    while (turns < 2 * TURNS_MAX && !board.isReleased()) run()
    // Is there already, unless we were stopped before. From other memory: whoever reads a page of this that is missing never comes back.
    makePlacer().place(0, 1, page.address)
    if (session % SESSIONS_PER_PAUSE === 0 && !isStopped()) letCompile()
  }
  board.idle()
  agent.close()
  bell.close()
  libc().munmap(address, bytes)
}

/** A fault on what is in flight, as the demand agent sees it; before that one, what somebody waited for has come. */
function touch(table: PageTable, board: Board, hints: RingProducer): void {
  const pages = table.pageCount
  const isWaiting = table.find(PAGE.PROMOTED, 0, pages) < pages
  const page = isWaiting ? pages : table.find(PAGE.PREFAULTING, 0, pages) + PAGES_INTO_RUN
  const isPromoted = page < pages && table.tryMove(page, PAGE.PREFAULTING, PAGE.PROMOTED)
  board.setPending(isWaiting || isPromoted ? 1 : 0)
  board.setPromoted(isPromoted ? 1 : 0)
  board.showAnswered(ANSWERED_NS)
  tell(hints, page % pages)
}

function tell(hints: RingProducer, page: number): void {
  const at = hints.tryClaim()
  if (at === NO_RECORD) return
  hints.words[at] = page
  hints.commit()
}
