/**
 * While a rehearsal runs, the engine compiles after a few calls what it otherwise compiles after thousands: a rehearsal has
 * milliseconds. Measured without (Node 20, 2 × Xeon): 20 to 26 functions of the demand road compiled during the first 5000 faults,
 * on a processor that the road needed; with it 1 to 5. The settings are heuristics of the engine for the whole process, and
 * go back to what they were by default when the last rehearsal ends that shares `rehearsals`; one of another attachment in the same process may go
 * on without. Of an engine whose settings are not known here nothing is changed.
 *
 * A rehearsal has lives, each with everything opened and closed. To the compiler, what never changes is a constant, and closing changes
 * what nothing had changed before: what was compiled in the first life goes with its end, what is compiled in the last stays.
 */
import { setFlagsFromString } from 'node:v8'

interface Setting {
  readonly flag: string
  readonly usual: number
  readonly eager: number
}

/** `node --v8-options` of Node 20.20: bytes of bytecode run, and how many times that. */
const BY_BUDGET: readonly Setting[] = [
  { flag: 'interrupt-budget', usual: 67_584, eager: 5000 },
  { flag: 'ticks-before-optimization', usual: 3, eager: 1 },
  { flag: 'bytecode-size-allowance-per-tick', usual: 150, eager: 100_000 },
]

/** Of Node 22.23, 24.21 and 26.10: calls. */
const BY_CALLS: readonly Setting[] = [
  { flag: 'invocation-count-for-maglev', usual: 400, eager: 40 },
  { flag: 'invocation-count-for-turbofan', usual: 3000, eager: 100 },
  { flag: 'minimum-invocations-after-ic-update', usual: 500, eager: 40 },
]

function settingsOf(v8Version: string): readonly Setting[] {
  const major = Number.parseInt(v8Version, 10)
  if (major === 11) return BY_BUDGET
  return major >= 12 && major <= 14 ? BY_CALLS : []
}

const RUNNING = 0
const READY = 1

/** What the rehearsals of a program share: how many run, for the last one to end; and whether somebody still waits for them. */
export function allocateRehearsals(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(8))
}

/** The program is ready: from now on whoever has nothing to do may rehearse. */
export function endWaiting(rehearsals: Int32Array): void {
  Atomics.store(rehearsals, READY, 1)
  Atomics.notify(rehearsals, READY)
}

/** Sleeps until nobody waits for a rehearsal any more; looks every so many milliseconds whether there is other work. */
export function awaitReady(rehearsals: Int32Array, hasWork: () => boolean): void {
  while (!hasWork() && Atomics.wait(rehearsals, READY, 0, 5) === 'timed-out');
}

/**
 * Runs `rehearse` with an eager compiler. Who has chosen such settings on Node's command line keeps them.
 * @param rehearsals of all threads that may rehearse at the same time
 */
export function withEagerCompiler(rehearsals: Int32Array, rehearse: () => void): void {
  const given = process.execArgv.join(' ').replaceAll('_', '-')
  const settings = settingsOf(process.versions.v8).filter(({ flag }) => !given.includes(flag))
  Atomics.add(rehearsals, RUNNING, 1)
  for (const { flag, eager } of settings) setFlagsFromString(`--${flag}=${eager}`)
  try {
    rehearse()
  } finally {
    if (Atomics.sub(rehearsals, RUNNING, 1) === 1) {
      for (const { flag, usual } of settings) setFlagsFromString(`--${flag}=${usual}`)
    }
  }
}

const COMPILE_MS = 5
const never = new Int32Array(new SharedArrayBuffer(4))

/** Sleeps while the engine's helpers compile what a rehearsal has made hot: code comes into use between two calls, not after the last. */
export function letCompile(): void {
  Atomics.wait(never, 0, 0, COMPILE_MS)
}
