/**
 * Runs a prefault agent through whole sessions on scratch memory, with a scratch source in the same thread, until the
 * compiler has seen it: what the interpreter does a thousand times slower is the start of every session. Nothing
 * crosses the real channel.
 */
import type { Clock } from '../clock.ts'
import { PREFAULT_READ_PAGES_MAX } from '../config.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../fault/userfaultfd-open.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import { PrefaultAgent } from '../lane/prefault-agent.ts'
import { PrefaultLane } from '../lane/prefault-lane.ts'
import { PREFAULT_COUNTERS } from '../lane/stats.ts'
import { PAGE, PageTable } from '../memory/page-table.ts'
import { MADV, MAP, PROT } from '../native/abi.ts'
import { EventFd } from '../native/event-fd.ts'
import { check, libc } from '../native/libc.ts'
import { AdaptiveWindow } from '../prefault/adaptive-window.ts'
import { SequentialPolicy } from '../prefault/sequential.ts'
import { Counters } from '../ring/counters.ts'
import { NO_RECORD } from '../ring/layout.ts'
import { RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { collectYoungGarbage } from './collect-garbage.ts'
import { runAgent } from './run-agent.ts'
import { PAGE_BYTES, PAGES, ScratchRoad } from './scratch-road.ts'
import { makeWait } from './wait.ts'

/** Enough for the optimising compiler, and 30 to 50 ms together. */
const SESSIONS = 60
/** Every so many turns a fault is told of, as a busy client would. */
const TURNS_PER_HINT = 3
/** A loop that never ends is compiled with all it calls, and what it called stays uncompiled for the next loop. */
const TURNS_PER_RUN = 20
/** Turns that a session may take, with room to spare: bounded whatever goes wrong. */
const TURNS_MAX = 40 * PAGES

/** @param isStopped asked between two sessions: nobody needs it any more */
export function warmUpPrefault(clock: Clock, isStopped: () => boolean): void {
  const { fd } = openUserfaultfd(0) // First: where there is none, nothing else is made.
  try {
    const road = new ScratchRoad()
    try {
      rehearse(clock, road, fd, isStopped)
    } finally {
      road.close()
    }
  } finally {
    libc().close(fd)
  }
  collectYoungGarbage()
}

function rehearse(clock: Clock, road: ScratchRoad, fd: number, isStopped: () => boolean): void {
  const bytes = PAGES * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'warm-up')
  registerMissing(fd, address, bytes)
  const channel = road.open('prefault')
  const board = new Board(allocateBoard())
  const baseHi = Math.floor(address / 2 ** 32)
  board.regions.set(PAGE_BYTES, [{ baseHi, baseLo: address % 2 ** 32, firstPage: 0, pageCount: PAGES }])
  const table = PageTable.allocate(PAGES)
  const bell = new EventFd()
  const demandBell = board.demandBell({ signal: () => bell.signal(), sleep: () => {} })
  const sleep = (ms: number) => {
    bell.signal() // Nobody else would end it.
    agent.park(ms)
  }
  const doorbell = board.prefaultBell({ signal: () => bell.signal(), sleep })
  const lane = new PrefaultLane(channel, {
    table,
    board,
    hints: new RingConsumer(board.memory.hints),
    policy: new SequentialPolicy(),
    window: new AdaptiveWindow(PAGE_BYTES, PREFAULT_READ_PAGES_MAX),
    counters: new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length)),
    clock,
    readPagesMax: PREFAULT_READ_PAGES_MAX,
    onPromotedDone: () => demandBell.wake(),
  })
  const agent = new PrefaultAgent({
    board,
    lane,
    channel,
    reopen: () => channel,
    makePlacer: () => new UffdPlacer(new Userfaultfd(board.userfaultfd()), board.regions),
    bell,
    demandBell,
    clock,
  })
  const hints = new RingProducer(board.memory.hints)
  for (let session = 0; session < SESSIONS && !isStopped(); session++) {
    libc().madvise(address, bytes, MADV.DONTNEED)
    table.reset(0, PAGES, PAGE.MISSING)
    board.setRemaining(PAGES)
    board.start(fd)
    let turns = 0
    const step = (): boolean => {
      road.turnSource()
      if (turns % TURNS_PER_HINT === 0) tell(hints, turns % PAGES)
      return ++turns % TURNS_PER_RUN === 0
    }
    const otherStep = (): boolean => step() // As in earnest the loop is handed another function.
    const isOdd = session % 2 === 1
    while (turns < TURNS_MAX && board.remaining() > 0) {
      runAgent(agent, doorbell, makeWait('block', clock), isOdd ? otherStep : step)
    }
    board.stop()
    while (turns < 2 * TURNS_MAX && !board.isReleased()) {
      runAgent(agent, doorbell, makeWait('block', clock), step)
    }
  }
  board.idle()
  bell.close()
  libc().munmap(address, bytes)
}

function tell(hints: RingProducer, page: number): void {
  const at = hints.tryClaim()
  if (at === NO_RECORD) return
  hints.words[at] = page
  hints.commit()
}
