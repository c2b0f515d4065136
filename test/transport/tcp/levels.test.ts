/** What each level of the source and of the wire does, and that it does nothing when it is off: both ends in this thread. */
import { readdirSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { BULK_QUANTUM_BYTES, QUIET_QUANTUM_BYTES } from '../../../src/config.ts'
import { type LevelName, levelsAt } from '../../../src/levels.ts'
import { IP_TOS, IPPROTO_IP, MSG, SO, SOL_SOCKET } from '../../../src/native/abi.ts'
import { NativeBuffer } from '../../../src/native/buffer.ts'
import { libc } from '../../../src/native/libc.ts'
import { dialTcp, getSocketOption, parseTcpUrl, tuneSocket } from '../../../src/native/socket.ts'
import { TcpChannel } from '../../../src/transport/tcp/channel.ts'
import { TcpSource } from '../../../src/transport/tcp/source.ts'
import { destinationTuning } from '../../../src/transport/tcp/tuning.ts'
import {
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  WELCOME_BYTES,
  WIRE_VERSION,
} from '../../../src/transport/tcp/wire.ts'
import type { Lane } from '../../../src/transport/transport.ts'

const PAGE = 4096
const PAGES = 512
const ID = '0000000000000001'
const sink = { onCompletion: () => {} }

/** A source and its destinations, stepped by hand. */
class Road {
  /** Turns in which the source has given way, so far. */
  waysGiven = 0
  readonly source: TcpSource
  readonly #image = new NativeBuffer(PAGES * PAGE, PAGE)
  readonly #channels: TcpChannel[] = []

  constructor(without: LevelName[], paceBytesPerSecond?: number) {
    this.#image.u32.fill(1)
    const image = { name: 'levels', id: ID, bytes: PAGES * PAGE, extents: null, isOurs: true, fd: -1 }
    this.source = new TcpSource(
      'tcp://127.0.0.1:0',
      { ...image, address: this.#image.address },
      { wakeFd: -1, without, paceBytesPerSecond, giveWay: () => this.waysGiven++ },
    )
  }

  join(lane: Lane): TcpChannel {
    const socket = dialTcp(parseTcpUrl(this.source.url), 1000)
    const words = new NativeBuffer(WELCOME_BYTES)
    words.u32[HELLO.MAGIC] = HELLO_MAGIC
    words.u32[HELLO.VERSION] = WIRE_VERSION
    words.u32[HELLO.LANE] = LANE_CODE[lane]
    words.u32[HELLO.PAGE_BYTES] = PAGE
    libc().send(socket, words.address, HELLO_BYTES, 0)
    for (let turn = 0, got = 0; turn < 1000 && got < WELCOME_BYTES; turn++) {
      this.source.park(0)
      this.source.doWork()
      const bytes = libc().recv(socket, words.address, WELCOME_BYTES - got, MSG.DONTWAIT)
      if (bytes > 0) got += bytes
    }
    const info = { imageId: ID, pageSize: PAGE, pageCount: PAGES, dataExtents: null }
    const channel = new TcpChannel(socket, this.source.url, lane, info)
    this.#channels.push(channel)
    return channel
  }

  /** Asks, and lets the source take note that there is something to read. */
  ask(channel: TcpChannel, reads: number, pages: number): void {
    for (let n = 0; n < reads; n++) channel.tryPostRead(n, n * pages, pages)
    channel.flush()
    this.source.park(0)
  }

  /** One turn of the source; what has come is taken, so that no socket is full. */
  turn(): void {
    this.source.doWork()
    for (const channel of this.#channels) while (channel.poll(sink, 100) > 0);
  }

  close(): void {
    for (const channel of this.#channels) channel.close()
    this.source.close()
  }
}

const roads: Road[] = []
const road = (...without: LevelName[]): Road => {
  const made = new Road(without)
  roads.push(made)
  return made
}
const pacedRoad = (paceBytesPerSecond: number): Road => {
  const made = new Road([], paceBytesPerSecond)
  roads.push(made)
  return made
}
afterEach(() => {
  for (const made of roads.splice(0)) made.close()
})

/** The source's end of a connection, found among this process's descriptors by its peer's address. */
function otherEnd(fd: number): number {
  const name = new NativeBuffer(80)
  const nameOf = (call: 'getsockname' | 'getpeername', socket: number): string => {
    name.i32[16] = 32
    return libc()[call](socket, name.address, name.address + 64) === 0
      ? Buffer.from(name.u8.subarray(0, 8)).toString('hex')
      : ''
  }
  const own = nameOf('getsockname', fd)
  const found = readdirSync('/proc/self/fd')
    .map(Number)
    .filter((each) => nameOf('getpeername', each) === own)
  expect(found).toHaveLength(1)
  return found[0] as number
}

/** Turns until a demand read is answered that was asked for behind eight quanta of bulk. */
function turnsToDemand(on: Road): number {
  const [bulk, demand] = [on.join('prefault'), on.join('demand')]
  on.ask(bulk, 8, 16)
  on.turn() // The first quantum is out, and all eight are taken in.
  on.ask(demand, 1, 1)
  for (let turns = 1; turns < 100; turns++) {
    on.turn()
    if (demand.credits === demand.creditsMax) return turns
  }
  return Infinity
}

describe('order', () => {
  it('answers demand in the very turn that takes it in; without it, behind the bulk that was there', () => {
    expect(turnsToDemand(road())).toBe(1)
    expect(turnsToDemand(road('order'))).toBe(15) // Smaller quanta from then on.
  })

  it.each(levelsAt('serve'))('without %s everything is answered, of both lanes', (level) => {
    const on = road(level)
    const [bulk, demand] = [on.join('prefault'), on.join('demand')]
    on.ask(bulk, 20, 16)
    on.ask(demand, 20, 1)
    for (let turn = 0; turn < 100; turn++) {
      on.source.park(0)
      on.turn()
    }
    expect([bulk.credits, demand.credits]).toEqual([bulk.creditsMax, demand.creditsMax])
    expect(bulk.bytesReceived + demand.bytesReceived).toBe(20 * 17 * PAGE)
  })
})

describe('giving way', () => {
  it('comes with each demand reply, before more bulk is sent, and at no other time', () => {
    const on = road()
    const [bulk, demand] = [on.join('prefault'), on.join('demand')]
    on.ask(bulk, 4, 16)
    for (let turn = 0; turn < 3; turn++) on.turn()
    expect(on.waysGiven).toBe(0)
    on.ask(demand, 1, 1)
    on.turn()
    expect(on.waysGiven).toBe(1)
    for (let turn = 0; turn < 9; turn++) on.turn()
    expect(on.waysGiven).toBe(1)
  })

  it('does not come before the reply, where demand has no precedence', () => {
    const on = road('order')
    const demand = on.join('demand')
    on.ask(demand, 1, 1)
    on.turn()
    expect([demand.credits, on.waysGiven]).toEqual([demand.creditsMax, 0])
  })
})

describe('quantum', () => {
  it('takes 256 KiB of bulk in one turn, beside demand 32; without it, all that is asked for', () => {
    const pagesOfOneTurn = (on: Road) => {
      on.ask(on.join('prefault'), 20, 16)
      on.turn()
      return on.source.stats.pagesSent
    }
    expect(pagesOfOneTurn(road())).toBe(QUIET_QUANTUM_BYTES / PAGE)
    const beside = road()
    beside.ask(beside.join('demand'), 1, 1)
    expect(pagesOfOneTurn(beside)).toBe(1 + BULK_QUANTUM_BYTES / PAGE)
    expect(pagesOfOneTurn(road('quantum'))).toBe(20 * 16)
  })
})

it('a look at the channel takes 128 KiB at most, however much has come', () => {
  const on = road()
  const bulk = on.join('prefault')
  const lookedAt: number[] = []
  const look = () => {
    const before = bulk.bytesReceived
    bulk.poll(sink, 100)
    lookedAt.push((bulk.bytesReceived - before) >> 10)
  }
  for (let round = 0; round < 4; round++) {
    on.ask(bulk, 16, 32)
    for (let turn = 0; turn < 100; turn++) on.source.doWork() // As much as the socket takes: more each time.
    for (let looks = 0; looks < 100; looks++) {
      look()
      on.source.doWork()
    }
    expect(bulk.credits).toBe(bulk.creditsMax)
  }
  expect(Math.max(...lookedAt)).toBe(128)
})

describe('fair', () => {
  it('gives two destinations a quantum in turn; without it, the first all of it', () => {
    const shares = (on: Road) => {
      const channels = [on.join('prefault'), on.join('prefault')]
      for (const channel of channels) on.ask(channel, 8, 32)
      for (let turn = 0; turn < 4; turn++) on.turn()
      return channels.map((channel) => channel.bytesReceived / QUIET_QUANTUM_BYTES)
    }
    expect(shares(road())).toEqual([2, 2])
    expect(shares(road('fair'))).toEqual([4, 0])
  })

  it('while two destinations ask, answers two requests of each in turn; without it, 16, and alone', () => {
    const pagesAfterATurn = (on: Road, others: number) => {
      const heavy = on.join('demand')
      const light = Array.from({ length: others }, () => on.join('demand'))
      const all = [heavy, ...light]
      for (const channel of all) on.ask(channel, 1, 1) // The source learns who asks.
      for (let turn = 0; turn < 4; turn++) on.turn()
      const before = all.map((channel) => channel.bytesReceived)
      on.ask(heavy, 20, 1)
      for (const channel of light) on.ask(channel, 1, 1)
      on.turn()
      return all.map((channel, i) => (channel.bytesReceived - (before[i] as number)) / 4096)
    }
    expect(pagesAfterATurn(road(), 1)).toEqual([2, 1])
    expect(pagesAfterATurn(road('fair'), 1)).toEqual([8, 1]) // A quantum of bytes ends it.
    expect(pagesAfterATurn(road(), 0)).toEqual([8])
  })

  it('has bulk wait for as much demand with short turns as with long ones', () => {
    const bulkAfterTurns = (on: Road, others: number) => {
      const heavy = on.join('demand')
      const light = Array.from({ length: others }, () => on.join('demand'))
      for (const channel of [heavy, ...light]) on.ask(channel, 1, 1)
      for (let turn = 0; turn < 4; turn++) on.turn()
      const bulk = on.join('prefault')
      on.ask(bulk, 8, 32)
      on.ask(heavy, 24, 1)
      return Array.from({ length: 9 }, () => {
        on.turn()
        return bulk.bytesReceived / BULK_QUANTUM_BYTES
      })
    }
    expect(bulkAfterTurns(road(), 0).slice(0, 3)).toEqual([1, 2, 3])
    expect(bulkAfterTurns(road(), 1)).toEqual([0, 0, 0, 1, 1, 1, 1, 2, 2])
  })
})

describe('pace', () => {
  it('is told to the kernel for bulk, and for nothing else', () => {
    const paceOf = (on: Road, lane: Lane) =>
      getSocketOption(otherEnd(on.join(lane).pollFd), SOL_SOCKET, SO.MAX_PACING_RATE)
    expect(paceOf(road(), 'prefault')).toBe(-1) // All bits set: none.
    const slow = pacedRoad(12_500_000)
    expect(paceOf(slow, 'prefault')).toBe(12_500_000)
    expect(paceOf(slow, 'demand')).toBe(-1)
  })
})

describe('priority', () => {
  const marks = (fd: number) => [
    getSocketOption(fd, SOL_SOCKET, SO.PRIORITY),
    getSocketOption(fd, IPPROTO_IP, IP_TOS),
  ]

  it.each([
    ['demand', [6, 0xb8]],
    ['prefault', [2, 0x20]],
  ] as const)('marks what is sent for %s at both ends, and without it nothing', (lane, expected) => {
    expect(marks(otherEnd(road().join(lane).pollFd))).toEqual(expected)
    expect(marks(otherEnd(road('priority').join(lane).pollFd))).toEqual([0, 0])
    const destination = road()
    const marked = destination.join(lane).pollFd
    tuneSocket(marked, destinationTuning(undefined)[lane])
    expect(marks(marked)).toEqual(expected)
    const unmarked = destination.join(lane).pollFd
    tuneSocket(unmarked, destinationTuning(['priority'])[lane])
    expect(marks(unmarked)).toEqual([0, 0])
  })
})

it('a source that sleeps whenever it may does not sleep on what it can still answer', () => {
  const on = road()
  const bulk = on.join('prefault')
  on.ask(on.join('demand'), 1, 1) // So that a turn is 32 KiB.
  on.ask(bulk, 3, 16)
  let pages = 0
  const count = { onCompletion: (_work: number, _first: number, run: number) => (pages += run) }
  const startMs = performance.now()
  for (let turn = 0; turn < 10 && pages < 48; turn++) {
    on.source.doWork()
    while (bulk.poll(count, 100) > 0);
    if (pages < 48) on.source.park(10_000) // Nobody asks for more: what is left must not wait for that.
  }
  expect(pages).toBe(48)
  expect(performance.now() - startMs).toBeLessThan(10_000)
})
