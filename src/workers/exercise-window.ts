/**
 * Takes a window through everything that a session may bring, in simulated time, until the compiler has seen it: a rehearsal over a
 * scratch road is over in milliseconds, and a window has states that come after seconds. What had never happened before its code was
 * compiled, the first number among them that is no integer, made the engine throw away all of prefault's compiled code in the midst of a
 * session (Node 20: 10 functions, then 30 compiled anew).
 */
import type { Window } from '../prefault/window.ts'

/** So long it goes on as it was: quiet, faults elsewhere, a client that follows, faults elsewhere and nobody standing still. */
const STEPS_PER_PHASE = 50
const PHASES = 4
const PENDING_PHASES = 2
/** Of a phase with somebody standing still: now and then so many do. */
const CROWD = 16
const STEPS_PER_CROWD = 3
/** A quick road, then a slow one. */
const STEPS_PER_ROAD = 400
const NS_PER_BYTE = [0.31, 8.3]
const SHORTEST_NS = 30_000.5
/** Between two reads at least, or all of them are no measurement. */
const STEP_NS_MIN = 100_000.5
/** A queue stands for so many steps of a road. */
const QUEUE_STEPS = 100
const QUEUE_NS = 400_000
/** Once in a while the shortest round trip is no longer believed, and the road is left to run empty. */
const STEPS_PER_AGE = 333
const AGE_NS = 6e9
const STEPS_PER_ANSWER = 5
/** Two faults at a time. */
const STEPS_PER_PAIR = 6

/**
 * Several windows, for the startup comes once in the life of one, and each of the phases may meet it.
 *
 * @param pagesMax of one read
 * @param steps of each window
 */
export function exerciseWindow(
  makeWindow: (pageBytes: number) => Window,
  pageBytes: number,
  pagesMax: number,
  steps: number,
): void {
  for (let phase = 0; phase < PHASES; phase++)
    exercise(makeWindow(pageBytes), phase, pageBytes, pagesMax, steps)
}

function exercise(
  window: Window,
  firstPhase: number,
  pageBytes: number,
  pagesMax: number,
  steps: number,
): void {
  let nowNs = 1e12 + 0.5
  for (let step = 0; step < steps; step++) {
    const phase = (firstPhase + Math.floor(step / STEPS_PER_PHASE)) % PHASES
    if (phase > 0 && step % 2 === 0) {
      window.onDemand(nowNs, phase === 2)
      if (step % STEPS_PER_PAIR === 0) window.onDemand(nowNs, phase === 2, phase === 3)
    }
    const pages = window.readPages(pagesMax, nowNs)
    const pending = phase % PENDING_PHASES
    const free = window.bytes(step % STEPS_PER_CROWD === 0 ? pending * CROWD : pending, nowNs)
    const bytes = Math.max(1, Math.min(pages, Math.floor(free / pageBytes))) * pageBytes
    const roadNs = bytes * (NS_PER_BYTE[Math.floor(step / STEPS_PER_ROAD) % NS_PER_BYTE.length] as number)
    const queueNs = step % STEPS_PER_ROAD < QUEUE_STEPS ? QUEUE_NS : 0
    nowNs += Math.max(STEP_NS_MIN, roadNs) + (step % STEPS_PER_AGE === 0 ? AGE_NS : 0)
    if (phase > 0 && step % STEPS_PER_ANSWER === 0) window.onDemandAnswered(SHORTEST_NS + queueNs)
    window.takeRest()
    window.onCompletion(bytes, SHORTEST_NS + roadNs + queueNs, nowNs)
  }
}
