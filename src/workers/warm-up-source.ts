/**
 * Runs a source on a scratch image until the compiler has seen it: the first calls of a program run in the
 * interpreter, and the first request must not.
 */
import { PREFAULT_READ_PAGES_MAX } from '../config.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { collectYoungGarbage } from './collect-garbage.ts'
import { allocateRehearsals, letCompile, withEagerCompiler, withFeedback } from './eager-compiler.ts'
import { PAGES, ScratchRoad, TURNS_PER_RUN } from './scratch-road.ts'
import { runSource } from './source-loop.ts'
import type { WaitMode } from './wait.ts'

/** Of the lives (eager-compiler.ts): the first, which is not compiled, and those that are. */
const READS_OF_FIRST = 50
const READS_OF_LIVES = [50, 400]
const GREETINGS = 10
/** Turns between two reads: some find nothing to do, as in earnest, and one sleeps. */
const TURNS_PER_READ = 5
/** As often a quantum of bulk goes out. */
const TURNS_PER_BULK = 7
/** Pauses for what has become hot. */
const RUNS_PER_PAUSE = 16
/** Enough to leave a trace. */
const FLOODS = 2

/**
 * @param isEmulated behind an emulated link; what that runs was compiled in the first sessions, 20 ms of a session of 40 on the
 * toucher's processor
 * @param isStopped asked now and then: nobody needs it any more
 */
export function warmUpSource(wait: WaitMode, isEmulated: boolean, isStopped: () => boolean): void {
  greetSource(isEmulated)
  const rehearsals = allocateRehearsals()
  const liveOnce = (life: number, reads: number) =>
    live(new ScratchRoad(undefined, isEmulated), life, reads, wait, isStopped)
  withFeedback(rehearsals, () => liveOnce(0, READS_OF_FIRST))
  withEagerCompiler(rehearsals, () => {
    for (const [before, reads] of READS_OF_LIVES.entries()) {
      if (!isStopped()) liveOnce(before + 1, reads)
    }
    letCompile()
  })
  collectYoungGarbage()
}

/** @param life how many there were before */
function live(
  road: ScratchRoad,
  life: number,
  reads: number,
  wait: WaitMode,
  isStopped: () => boolean,
): void {
  const [demand, bulk] = [road.open('demand'), road.open('prefault')]
  if (life === 1) for (let i = 0; i < FLOODS; i++) road.flood(bulk, isStopped)
  const sink = { onCompletion: () => {} }
  let turns = 0
  const step = (): boolean => {
    road.event.signal() // Nobody else would end the sleep.
    demand.poll(sink, 16)
    bulk.poll(sink, 16)
    if (turns++ % TURNS_PER_READ === 0) {
      demand.tryPostRead(turns % 16, turns % PAGES, 1)
      demand.flush()
    }
    if (turns % TURNS_PER_BULK === 0) {
      bulk.tryPostRead(turns % 16, turns % (PAGES - PREFAULT_READ_PAGES_MAX), PREFAULT_READ_PAGES_MAX)
      bulk.flush()
    }
    return turns % TURNS_PER_RUN === 0
  }
  const otherStep = (): boolean => step() // As in earnest the loop is handed another function.
  const bell = Doorbell.allocate()
  for (let run = 0; turns < reads * TURNS_PER_READ && !isStopped(); run++) {
    const isOdd = run % 2 === 1
    runSource(road.source, bell, road.event, wait, isOdd ? otherStep : step, true, isOdd ? 0 : undefined)
    if (run % RUNS_PER_PAUSE === 0) letCompile()
  }
  road.close()
}

/** Connections that come and go: what is seen once leaves no trace with the compiler. */
function greetSource(isEmulated: boolean): void {
  for (let i = 0; i < GREETINGS; i++) {
    const road = new ScratchRoad(undefined, isEmulated)
    road.open('prefault')
    road.close()
  }
}
