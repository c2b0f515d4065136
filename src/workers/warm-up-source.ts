/**
 * Runs a source on a scratch image until the compiler has seen it: the first calls of a program run in the
 * interpreter, and the first request must not.
 */
import { PREFAULT_READ_PAGES_MAX } from '../config.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { collectYoungGarbage } from './collect-garbage.ts'
import { PAGES, ScratchRoad } from './scratch-road.ts'
import { runSource } from './source-loop.ts'
import type { WaitMode } from './wait.ts'

/** Enough for the optimising compiler, and some 50 ms. */
const READS = 500
const GREETINGS = 10
/** Turns between two reads: some find nothing to do, as in earnest, and one sleeps. */
const TURNS_PER_READ = 5
/** As often a quantum of bulk goes out. */
const TURNS_PER_BULK = 7
/** A loop that never ends is compiled with all it calls, and what it called stays uncompiled for the next loop. */
const TURNS_PER_RUN = 20

/** @param isStopped asked now and then: nobody needs it any more */
export function warmUpSource(wait: WaitMode, isStopped: () => boolean): void {
  greetSource()
  const road = new ScratchRoad()
  const [demand, bulk] = [road.open('demand'), road.open('prefault')]
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
  while (turns < READS * TURNS_PER_READ && !isStopped()) {
    runSource(road.source, bell, road.event, wait, step)
    runSource(road.source, bell, road.event, wait, otherStep)
  }
  road.close()
  collectYoungGarbage()
}

/** Connections that come and go: what is seen once leaves no trace with the compiler. */
function greetSource(): void {
  for (let i = 0; i < GREETINGS; i++) {
    const road = new ScratchRoad()
    road.open('prefault')
    road.close()
  }
}
