import { describe, expect, it } from 'vitest'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { PrefaultLane } from '../../src/lane/prefault-lane.ts'
import { Rests } from '../../src/lane/rests.ts'
import { PREFAULT_COUNTERS } from '../../src/lane/stats.ts'
import { PAGE as PAGE_STATE, PageTable } from '../../src/memory/page-table.ts'
import { AdaptiveWindow } from '../../src/prefault/adaptive-window.ts'
import { schedulingOf } from '../../src/prefault/schedulings.ts'
import { SequentialPolicy } from '../../src/prefault/sequential.ts'
import type { Window } from '../../src/prefault/window.ts'
import { Counters } from '../../src/ring/counters.ts'
import { RingConsumer } from '../../src/ring/spsc-ring.ts'
import type { Channel } from '../../src/transport/transport.ts'

const PAGE = 4096
const US = 1000

/** A thread whose turns take so long, and that looks once a microsecond whether its rest is over. */
function thread(factor?: number) {
  const state = {
    nowNs: 5e9,
    isDue: true,
    isAwaited: false,
    waiting: 1,
    looks: 0,
    awaitedAfterLooks: Infinity,
    awayUs: 1,
    sleeps: 0,
    sleepsUs: Infinity,
    isAwaitedAsleep: false,
  }
  const giveWay = () => {
    state.nowNs += state.awayUs * US
    state.looks++
    if (state.looks >= state.awaitedAfterLooks) state.isAwaited = true
  }
  const sleep = (ns: number) => {
    state.nowNs += Math.min(ns, state.sleepsUs * US)
    state.sleeps++
    if (state.isAwaitedAsleep) state.isAwaited = true
  }
  const rests = new Rests({
    clock: { nowNs: () => state.nowNs },
    giveWay,
    sleep,
    factor,
  })
  const lane = {
    takeRest: () => state.isDue,
    get waiting() {
      return state.waiting
    },
    get isAwaited() {
      return state.isAwaited
    },
  }
  /** How long it rests after a turn of `us`. */
  const turn = (us: number) => {
    state.nowNs += us * US
    const beganNs = state.nowNs
    rests.afterTurn(lane)
    return (state.nowNs - beganNs) / US
  }
  const park = (us: number) => {
    rests.beforeSleep()
    state.nowNs += us * US
    rests.afterSleep()
  }
  turn(1) // The first has no beginning.
  return { state, turn, park }
}

describe('rests of prefault', () => {
  it('come after 15 µs of work, and are four times as long', () => {
    const { turn } = thread()
    expect([turn(10), turn(10), turn(10), turn(10)]).toEqual([0, 80, 0, 80])
    expect(turn(50)).toBe(200)
  })

  it('leave it a fifth of the time at most, whatever its turns', () => {
    for (const us of [1, 7, 14, 16, 60, 90]) {
      const { state, turn } = thread()
      const beganNs = state.nowNs
      let restedUs = 0
      for (let i = 0; i < 1000; i++) restedUs += turn(us)
      expect((restedUs * US) / (state.nowNs - beganNs)).toBeGreaterThan(0.79)
    }
  })

  it('are 700 µs at most: who was away from its processor did not work', () => {
    expect(thread().turn(5000)).toBe(700)
  })

  it('come to nobody where no fault has come, and count from there', () => {
    const { state, turn } = thread()
    state.isDue = false
    expect([turn(40), turn(40), turn(1000)]).toEqual([0, 0, 0])
    state.isDue = true
    expect([turn(10), turn(10)]).toEqual([0, 80])
  })

  it('end at once for whoever waits for a page in flight', () => {
    const { state, turn } = thread()
    state.isAwaited = true
    expect(turn(40)).toBe(0)
    state.isAwaited = false
    state.awaitedAfterLooks = state.looks + 5
    expect(turn(40)).toBe(5)
  })

  it('are what a slow wire has it sleep; to look in vain is no sleep', () => {
    const { turn, park } = thread()
    let rested = 0
    for (let i = 0; i < 100; i++) {
      rested += turn(12)
      park(15)
    }
    expect(rested).toBe(0)
    park(2)
    expect(turn(12)).toBe(0)
    park(2)
    expect(turn(12)).toBeGreaterThan(100)
  })

  it('are slept where several threads stand still: they want the processor', () => {
    const { state, turn } = thread()
    state.waiting = 2
    const { looks } = state
    expect([turn(40), state.looks - looks, state.sleeps]).toEqual([160, 0, 1])
    state.sleepsUs = 60 // It was woken for something else.
    expect([turn(40), state.sleeps]).toEqual([160, 4])
    state.isAwaitedAsleep = true
    expect([turn(40), state.sleeps]).toEqual([60, 5])
  })

  it('are slept where others have the processor for long, and not for one that is soon gone', () => {
    const { state, turn } = thread()
    state.awayUs = 15
    expect([turn(40), state.sleeps]).toEqual([165, 0])
    state.awayUs = 30
    expect([turn(40), state.sleeps]).toEqual([160, 1])
    state.awayUs = 200
    expect([turn(40), state.sleeps]).toEqual([200, 1])
  })

  it('of a rehearsal are short', () => {
    expect(thread(0.5).turn(40)).toBe(20)
  })
})

it('a turn of the lane takes one completion where prefault rests in between, else two', () => {
  const board = new Board(allocateBoard())
  const taken: number[] = []
  let isDue = true
  const channel = {
    info: { imageId: '', pageSize: PAGE, pageCount: 8, dataExtents: null },
    creditsMax: 8,
    readPagesMax: 1,
    credits: 8,
    bytesReceived: 0,
    tryPostRead: () => true,
    flush: () => {},
    poll: (_sink: unknown, max: number) => taken.push(max) && 0,
  } as unknown as Channel
  const table = PageTable.allocate(8)
  table.reset(0, 8, PAGE_STATE.MISSING)
  const lane = new PrefaultLane(channel, {
    table,
    board,
    hints: new RingConsumer(board.memory.hints),
    policy: new SequentialPolicy(),
    window: {
      bytes: () => 8 * PAGE,
      readPages: () => 1,
      onDemand: () => {},
      onDemandAnswered: () => {},
      takeRest: () => isDue,
      onCompletion: () => {},
    },
    counters: new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length)),
    clock: { nowNs: () => 0 },
    readPagesMax: 1,
    onPromotedDone: () => {},
  })
  lane.begin({ status: 0, place: () => 0, placeZero: () => 0, wake: () => {}, lose: () => {} })
  lane.doWork() // Asks.
  expect(taken).toEqual([])
  lane.doWork()
  expect([lane.takeRest(), lane.doWork()]).toEqual([true, 0])
  isDue = false
  expect([lane.takeRest(), lane.doWork()]).toEqual([false, 0])
  expect(taken).toEqual([2, 1, 2])
})

/** A window of a road that carries 64 KiB in so long, measured for three seconds. */
function measured(everyNs: number, w: Window = new AdaptiveWindow(PAGE, 8)): Window {
  for (let ns = 0; ns < 3e9; ns += everyNs) w.onCompletion(65_536, 100_000 + everyNs, ns)
  return w
}
const FAST = 65_536
const SLOW = 8 * FAST

describe('when a rest is due', () => {
  const dueOf = (w: Window) => (atUs: number, isNear: boolean) => {
    w.onDemand(3e9 + atUs * US, isNear)
    return w.takeRest()
  }

  it('after a fault that comes within 300 µs of another, once', () => {
    const w = measured(FAST)
    const due = dueOf(w)
    expect(w.takeRest()).toBe(false)
    expect([due(0, false), due(299, false), w.takeRest(), due(600, false), due(1e6, false)]).toEqual([
      false,
      true,
      false,
      false,
      false,
    ])
  })

  it('not for a client that goes along with prefault: it waits for those very pages', () => {
    const due = dueOf(measured(FAST))
    expect([due(0, false), due(50, true), due(100, true), due(150, true)]).toEqual([
      false,
      true,
      false,
      false,
    ])
    due(200, false)
    expect(due(250, false)).toBe(true)
  })

  it('not on a slow road, where the wire makes rests, nor on one that nothing is known of', () => {
    for (const w of [measured(SLOW), new AdaptiveWindow(PAGE, 8)]) {
      const due = dueOf(w)
      expect([due(0, false), due(50, false)]).toEqual([false, false])
    }
  })

  it('on a road whose rate has been given up since: it was fast, and may only be waiting for a processor', () => {
    const w = measured(FAST)
    for (let ns = 3e9; ns < 4e9; ns += SLOW) {
      w.onDemandAnswered(5e6)
      w.onCompletion(65_536, 5e6, ns)
    }
    expect(w.readPages(8, 4e9)).toBeGreaterThan(0)
    const due = dueOf(w)
    due(1e6, false)
    expect(due(1e6 + 50, false)).toBe(true)
  })

  it('never with the other schedulings, nor without short reads, which is told of no demand', () => {
    const windows: Window[] = (['S0', 'S1', 'S3', 'S4'] as const).map((name) =>
      schedulingOf(name, []).window(PAGE),
    )
    windows.push(schedulingOf('S2', ['short-reads']).window(PAGE))
    for (const w of windows) {
      const due = dueOf(measured(FAST, w))
      expect([due(0, false), due(50, false)]).toEqual([false, false])
    }
  })
})
