import { describe, expect, it } from 'vitest'
import { PHASE, TOUCHER_WORDS, Toucher, type ToucherPlan, tellAddress } from '../../src/fault/toucher.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'

const PAGE_BYTES = 4096
const PAGES = 8

/** A walk over memory that is there, by a clock that goes on by `ns` with every look: so long a touch takes. */
function walk(ns: number, firstTouchNs?: number, hitNsMax?: number) {
  const memory = new NativeBuffer(PAGES * PAGE_BYTES, PAGE_BYTES)
  const control = new Int32Array(new SharedArrayBuffer(4 * TOUCHER_WORDS.COUNT))
  control[TOUCHER_WORDS.PHASE] = PHASE.MEASURE
  tellAddress(control, memory.address)
  const plan: ToucherPlan = {
    bytes: PAGES * PAGE_BYTES,
    pageSize: PAGE_BYTES,
    mode: 'walk',
    meanGapNs: 0,
    pages: Uint32Array.from({ length: PAGES }, (_, page) => page),
    seed: 1,
    control,
    latency: LatencyHistogram.allocate(),
    lateness: LatencyHistogram.allocate(),
    ...(hitNsMax === undefined ? {} : { hitNsMax }),
  }
  let nowNs = 0
  const toucher = new Toucher(plan, { nowNs: () => (nowNs += ns) })
  if (firstTouchNs !== undefined) toucher.learn(firstTouchNs)
  const { faults, hits, stallNs } = toucher.run(plan)
  return { faults, hits, stallNs, samples: new LatencyHistogram(plan.latency).snapshot().count, memory }
}

describe('what a toucher takes for a fault', () => {
  it('is a touch of 2.5 µs and more, where nothing is known of the machine', () => {
    expect(walk(2499)).toMatchObject({ faults: 0, hits: PAGES, stallNs: 0, samples: 0 })
    expect(walk(2500)).toMatchObject({ faults: PAGES, hits: 0, stallNs: PAGES * 2500, samples: PAGES })
  })

  it('is one of three times the first touch of a page that is there, where that is long', () => {
    expect(walk(14_099, 4700)).toMatchObject({ faults: 0, hits: PAGES })
    expect(walk(14_100, 4700)).toMatchObject({ faults: PAGES, hits: 0 })
  })

  it('is no shorter a touch where that is short', () => {
    expect(walk(2499, 100)).toMatchObject({ faults: 0, hits: PAGES })
    expect(walk(2500, 100)).toMatchObject({ faults: PAGES, hits: 0 })
  })

  it('is what the plan says, in a rehearsal', () => {
    expect(walk(1, 4700, 0)).toMatchObject({ faults: PAGES, hits: 0 })
    expect(walk(1e6, 4700, 1e9)).toMatchObject({ faults: 0, hits: PAGES })
  })
})
