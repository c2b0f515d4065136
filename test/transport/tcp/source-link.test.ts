import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type LinkEntrant, SourceLink } from '../../../src/transport/tcp/source-link.ts'
import { LANE_CODE } from '../../../src/transport/tcp/wire.ts'

const RTT_NS = 200_000
const FRAME = 4112

/** Requests of one page, received at given times; what enters the link is written down. */
class Requests implements LinkEntrant {
  readonly endReason = ''
  readonly lane: number
  readonly #link: SourceLink
  readonly #arrivals: number[]
  readonly #visibleNs: number[] = []

  constructor(link: SourceLink, lane: number, arrivals: number[]) {
    this.#link = link
    this.lane = lane
    this.#arrivals = arrivals
  }
  receive(ageNs: number): void {
    this.#visibleNs.push(this.#link.requestVisibleNs(ageNs))
  }
  get nextVisibleNs(): number {
    return this.#visibleNs[0] ?? Infinity
  }
  get nextArrivalNs(): number {
    return Infinity
  }
  enterLink(enterNs: number): void {
    this.#visibleNs.shift()
    this.#arrivals.push(this.#link.take(FRAME, enterNs))
  }
}

interface Request {
  readonly atNs: number
  readonly isDemand: boolean
}

/** What a source delivers when its thread gets to it at these times only. */
function arrivalsOf(requests: readonly Request[], turnsAtNs: readonly number[]): number[] {
  let nowNs = 0
  const link = new SourceLink('1Gbit/200us/16KiB', {}, { nowNs: () => nowNs })
  const arrivals: number[] = []
  const demand = new Requests(link, LANE_CODE.demand, arrivals)
  const bulk = new Requests(link, LANE_CODE.prefault, arrivals)
  let received = 0
  for (nowNs of turnsAtNs) {
    for (let at = requests[received]; at && at.atNs <= nowNs; at = requests[++received]) {
      ;(at.isDemand ? demand : bulk).receive(nowNs - at.atNs)
    }
    while (link.fill([bulk, demand]) > 0);
  }
  return arrivals
}

const traffic = fc
  .array(fc.record({ gapNs: fc.integer({ min: 1, max: 80_000 }), isDemand: fc.boolean() }), {
    minLength: 1,
    maxLength: 80,
  })
  .map((gaps) => {
    let atNs = 0
    return gaps.map(({ gapNs, isDemand }) => {
      atNs += gapNs
      return { atNs, isDemand }
    })
  })
const END_NS = 80 * 80_000 + 20e6

function turns(gapNs: () => number): number[] {
  const at = [0]
  for (let nowNs = 0; nowNs < END_NS; at.push(nowNs)) nowNs += gapNs()
  return at
}

describe('SourceLink', () => {
  it('delivers the same at the same times, however late the thread gets to it within half a round trip', () => {
    fc.assert(
      fc.property(traffic, fc.integer({ min: 1000, max: RTT_NS / 2 - 1 }), (requests, mostNs) => {
        let random = mostNs
        const late = turns(() => {
          random = (Math.imul(random, 48271) >>> 0) % 0x7fffffff
          return 1 + (random % mostNs)
        })
        const exact = arrivalsOf(
          requests,
          turns(() => 1000),
        )
        const slept = arrivalsOf(requests, late)
        expect(exact.length).toBe(requests.length)
        expect(slept.length).toBe(requests.length)
        for (let i = 0; i < exact.length; i++) expect(slept[i]).toBeCloseTo(exact[i] as number, 0)
      }),
      { numRuns: 50 },
    )
  })

  it('loses nothing of its rate to a thread that sleeps far too long', () => {
    const requests = Array.from({ length: 80 }, (_, i) => ({ atNs: 1 + i, isDemand: false }))
    const exact = arrivalsOf(
      requests,
      turns(() => 1000),
    )
    const slept = arrivalsOf(
      requests,
      turns(() => 3e6),
    )
    expect(slept.at(-1)).toBeCloseTo(exact.at(-1) as number, 0)
  })

  it('lets demand in first where both wait for room', () => {
    let nowNs = 0
    const link = new SourceLink('1Gbit/0/16KiB', {}, { nowNs: () => nowNs })
    const order: number[] = []
    const entrant = (lane: number, count: number) => ({
      lane,
      endReason: '',
      nextVisibleNs: 0,
      nextArrivalNs: Infinity,
      left: count,
      enterLink(enterNs: number) {
        order.push(lane)
        link.take(16_384, enterNs)
        if (--this.left === 0) this.nextVisibleNs = Infinity
      },
    })
    const bulk = entrant(LANE_CODE.prefault, 3)
    const demand = entrant(LANE_CODE.demand, 1)
    demand.nextVisibleNs = 1000 // While the first of bulk is leaving.
    for (nowNs = 0; nowNs < 1e6; nowNs += 1000) link.fill([bulk, demand])
    expect(order).toEqual([LANE_CODE.prefault, LANE_CODE.demand, LANE_CODE.prefault, LANE_CODE.prefault])
  })
})
