/**
 * Runs a touching thread on scratch memory of its own until the compiler has seen it: 32 threads that are compiled while they are measured
 * keep two processors busy for seconds, and a virtual machine that faults does not.
 */
import { PHASE, TOUCHER_WORDS, type Toucher, type ToucherPlan, tellAddress } from '../fault/toucher.ts'
import { MADV, MAP, PROT } from '../native/abi.ts'
import { check, libc } from '../native/libc.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { collectAllGarbage, collectYoungGarbage } from './collect-garbage.ts'
import { letCompile, withEagerCompiler, withFeedback } from './eager-compiler.ts'

const PAGES = 512
/** Of the lives (eager-compiler.ts) after the first. */
const LIVES = 6
/** Before nothing is missing any more, and the thread sleeps. */
const TOUCHES = 400
const GAP_NS = 20_000
/** Between two lives: 32 threads compile a dozen functions each, on two processors in 0.4 s. */
const COMPILE_MS = 40

/** @param rehearsals of all threads of this client */
export function warmUpToucher(toucher: Toucher, plan: ToucherPlan, rehearsals: Int32Array): void {
  collectAllGarbage() // Now, for the view of the client's memory: what is compiled from here on stays.
  const bytes = PAGES * plan.pageSize
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'warm-up')
  libc().madvise(address, bytes, MADV.NOHUGEPAGE)
  const control = new Int32Array(new SharedArrayBuffer(4 * TOUCHER_WORDS.COUNT))
  control[TOUCHER_WORDS.PHASE] = PHASE.MEASURE
  tellAddress(control, address)
  const scratch: ToucherPlan = {
    ...plan,
    bytes,
    meanGapNs: Math.min(plan.meanGapNs, GAP_NS),
    pages: Uint32Array.from({ length: PAGES }, (_, page) => page),
    control,
    latency: LatencyHistogram.allocate(),
    lateness: LatencyHistogram.allocate(),
    touchesMax: TOUCHES,
  }
  const latency = new LatencyHistogram(scratch.latency)
  for (let i = 1; i <= 10; i++) latency.record(i * 1e9) // Sums leave 31 bits within seconds, and so may the longest stall.
  // All touches of one life are faults, all of the next are hits: both are seen.
  const live = (number: number) => {
    libc().madvise(address, bytes, MADV.DONTNEED)
    toucher.run({ ...scratch, hitNsMax: number % 2 === 0 ? 0 : 1e9 })
  }
  withFeedback(rehearsals, () => {
    live(0)
    live(1)
  })
  withEagerCompiler(rehearsals, () => {
    for (let life = 0; life < LIVES; life++) {
      live(life)
      letCompile(COMPILE_MS)
    }
  })
  libc().munmap(address, bytes)
  collectYoungGarbage()
}
