/**
 * While a rehearsal runs, the engine compiles after a few calls what it otherwise compiles after thousands: a rehearsal has
 * milliseconds. Measured without (Node 20, 2 × Xeon): 20 to 26 functions of the demand road compiled during the first 5000 faults,
 * on a processor that the road needed; with it 1 to 5. The settings are heuristics of the engine for the whole process, and
 * go back to what they were by default when the last rehearsal ends that shares `rehearsals`; one of an attachment outside of the neighbourhood may
 * go on without. Of an engine whose settings are not known here nothing is changed.
 *
 * A rehearsal has lives, each with everything opened and closed. To the compiler, what never changes is a constant, and closing changes
 * what nothing had changed before: what is compiled in the first life goes with its end, what is compiled in the last stays. So
 * nothing is, in the first: it is a short one, with a little of everything that happens, and the engine told to remember from the first
 * call on what it sees. What it has seen is what it compiles for.
 */
import { setFlagsFromString } from 'node:v8'

interface Setting {
  readonly flag: string
  readonly usual: string
  readonly eager: string
}

const setting = (flag: string, usual: number, eager: number): Setting => ({
  flag,
  usual: `--${flag}=${usual}`,
  eager: `--${flag}=${eager}`,
})

/** `node --v8-options` of Node 20.20: bytes of bytecode run, and how many times that. */
const BY_BUDGET: readonly Setting[] = [
  setting('interrupt-budget', 67_584, 5000),
  setting('ticks-before-optimization', 3, 1),
  setting('bytecode-size-allowance-per-tick', 150, 100_000),
]

/** Of Node 22.23, 24.21 and 26.10: calls. */
const BY_CALLS: readonly Setting[] = [
  setting('invocation-count-for-maglev', 400, 40),
  setting('invocation-count-for-turbofan', 3000, 100),
  setting('minimum-invocations-after-ic-update', 500, 40),
]

/** Of all of them: what a function sees is remembered from its first call on, not after some. */
const FEEDBACK: readonly Setting[] = [
  {
    flag: 'lazy-feedback-allocation',
    usual: '--lazy-feedback-allocation',
    eager: '--no-lazy-feedback-allocation',
  },
]

function thresholdsOf(v8Major: number): readonly Setting[] {
  if (v8Major === 11) return BY_BUDGET
  return v8Major >= 12 && v8Major <= 14 ? BY_CALLS : []
}

const THRESHOLDS = thresholdsOf(Number.parseInt(process.versions.v8, 10))
const ALL = THRESHOLDS.length === 0 ? [] : [...FEEDBACK, ...THRESHOLDS]

const RUNNING = 0
const WAITING = 1

/** What the rehearsals of a program share: how many run, for the last one to end; and how many are still waited for. */
export function allocateRehearsals(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(8))
}

/** Somebody will not be ready before a rehearsal has ended: until endWaiting() others let it have the processors. */
export function beginWaiting(rehearsals: Int32Array): void {
  Atomics.add(rehearsals, WAITING, 1)
}

/** It is ready: when nobody waits any more, whoever has nothing to do may rehearse. */
export function endWaiting(rehearsals: Int32Array): void {
  Atomics.sub(rehearsals, WAITING, 1)
  Atomics.notify(rehearsals, WAITING)
}

/** Sleeps until nobody waits for a rehearsal any more; looks every so many milliseconds whether there is other work. */
export function awaitReady(rehearsals: Int32Array, hasWork: () => boolean): void {
  for (;;) {
    const waiting = Atomics.load(rehearsals, WAITING)
    if (waiting === 0 || hasWork()) return
    Atomics.wait(rehearsals, WAITING, waiting, 5)
  }
}

/**
 * Runs the first life of a rehearsal.
 * @param rehearsals of all threads that may rehearse at the same time
 */
export function withFeedback(rehearsals: Int32Array, live: () => void): void {
  withSettings(rehearsals, FEEDBACK, live)
}

/**
 * Runs the last life of a rehearsal. Who has chosen such settings on Node's command line keeps them.
 * @param rehearsals of all threads that may rehearse at the same time
 */
export function withEagerCompiler(rehearsals: Int32Array, live: () => void): void {
  withSettings(rehearsals, THRESHOLDS, live)
}

function withSettings(rehearsals: Int32Array, wanted: readonly Setting[], live: () => void): void {
  const given = process.execArgv.join(' ').replaceAll('_', '-')
  const ours = ALL.filter(({ flag }) => !given.includes(flag))
  Atomics.add(rehearsals, RUNNING, 1)
  for (const each of ours) if (wanted.includes(each)) setFlagsFromString(each.eager)
  try {
    live()
  } finally {
    if (Atomics.sub(rehearsals, RUNNING, 1) === 1) for (const { usual } of ours) setFlagsFromString(usual)
  }
}

/** Of V8 12 to 14; Node 20's has none that is on. */
const HAS_MAGLEV = THRESHOLDS === BY_CALLS

/**
 * Whether the engine compiles what is hot, in the whole process. What is compiled stays; what turns out wrong is interpreted from then on.
 * For processes that only put load on others, once they have rehearsed: 32 threads went on compiling for seconds (Node 20: 350 functions, a
 * sixth of two processors), which a virtual machine that faults does not do.
 */
export function setCompiling(isOn: boolean): void {
  const given = process.execArgv.join(' ').replaceAll('_', '-')
  for (const flag of HAS_MAGLEV ? ['turbofan', 'maglev'] : ['turbofan'])
    if (!given.includes(flag)) setFlagsFromString(isOn ? `--${flag}` : `--no-${flag}`)
}

const COMPILE_MS = 2
const never = new Int32Array(new SharedArrayBuffer(4))

/** Sleeps while the engine's helpers compile what a rehearsal has made hot: code comes into use between two calls, not after the last. */
export function letCompile(ms = COMPILE_MS): void {
  Atomics.wait(never, 0, 0, ms)
}
