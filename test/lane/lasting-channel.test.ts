import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AgentEvent } from '../../src/lane/agent-event.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { DemandLane } from '../../src/lane/demand-lane.ts'
import { LastingChannel } from '../../src/lane/lasting-channel.ts'
import { DEMAND_COUNTERS } from '../../src/lane/stats.ts'
import { PageTable } from '../../src/memory/page-table.ts'
import { Counters } from '../../src/ring/counters.ts'
import { LatencyHistogram } from '../../src/ring/histogram.ts'
import { RingProducer } from '../../src/ring/spsc-ring.ts'
import { transport } from '../../src/transport/tcp/index.ts'
import { Bench } from '../cli/harness.ts'

const MS = 1e6

describe('the channel over its connections', () => {
  let bench: Bench
  let url: string
  let nowNs: number
  let events: AgentEvent[]
  let channel: LastingChannel

  beforeEach(async () => {
    bench = new Bench()
    url = (await bench.serve('--synthetic', '64KiB', '--listen', 'tcp://127.0.0.1:0')).url
    nowNs = 1e9
    events = []
    const clock = { nowNs: () => nowNs }
    const board = new Board(allocateBoard())
    const first = transport.open(url, 'demand')
    const lane = new DemandLane(first, {
      table: PageTable.allocate(16),
      board,
      hints: new RingProducer(board.memory.hints),
      counters: new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length)),
      stalls: new LatencyHistogram(LatencyHistogram.allocate()),
      promotedWaits: new LatencyHistogram(LatencyHistogram.allocate()),
      clock,
    })
    channel = new LastingChannel({
      channel: first,
      reopen: () => transport.open(url, 'demand', { timeoutMs: 1000 }),
      lane,
      sharedPrefault: undefined,
      listener: undefined,
      clock,
      notify: (event) => events.push(event),
    })
  })
  afterEach(async () => {
    channel.close()
    await bench.close()
  })

  /** How long after now it may be dialled, ms. */
  function distanceMs(): number {
    const startNs = nowNs
    while (!channel.isDialDue) nowNs += MS
    return (nowNs - startNs) / MS
  }

  it('is dialled at once when it was well, and at growing distances when connections do not last', () => {
    nowNs += 2e9
    channel.lose('a blow')
    expect(channel.isBroken).toBe(true)
    const distances = [distanceMs()]
    for (let round = 0; round < 8; round++) {
      expect(channel.tryReopen()).toBe(true)
      channel.lose('again')
      distances.push(distanceMs())
    }
    expect(distances).toEqual([0, 100, 200, 400, 800, 1600, 3200, 3200, 3200])
    expect(channel.tryReopen()).toBe(true)
    nowNs += 1.1e9
    channel.lose('after a second of peace')
    expect(distanceMs()).toBe(0)
    expect(events.map(({ kind }) => kind).filter((kind) => kind === 'source-back')).toHaveLength(9)
  })

  it('is asked for every 100 ms while nobody answers, and says so once', async () => {
    nowNs += 2e9
    channel.lose('a blow')
    const away = url
    url = 'tcp://127.0.0.1:1'
    for (let round = 0; round < 3; round++) {
      expect(channel.tryReopen()).toBe(false)
      expect(distanceMs()).toBe(100)
    }
    expect(events).toEqual([{ kind: 'source-lost', reason: 'a blow' }])
    url = away
    expect(channel.tryReopen()).toBe(true)
    expect([channel.isBroken, channel.current.credits > 0]).toEqual([false, true])
  })

  it('takes no other image for its own, and names it once', async () => {
    const other = await bench.serve('--synthetic', '128KiB', '--listen', 'tcp://127.0.0.1:0')
    channel.lose('a blow')
    url = other.url
    for (let round = 0; round < 3; round++) expect(channel.tryReopen()).toBe(false)
    expect(channel.isBroken).toBe(true)
    expect(events.map(({ kind }) => kind)).toEqual(['source-lost', 'source-lost'])
    expect((events[1] as { reason: string }).reason).toMatch(/^image of the source that came back/)
  })
})
