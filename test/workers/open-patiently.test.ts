/** Opening a channel that nobody waits for, against a source that comes and goes. */
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../src/errors.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import type { DoorbellPrimitives } from '../../src/ring/doorbell.ts'
import type { Channel } from '../../src/transport/transport.ts'
import { openPatiently } from '../../src/workers/open-patiently.ts'

const away = () => new FaultlaneError({ code: 'CONNECT_FAILED', url: 'tcp://there', reason: 'ECONNREFUSED' })
const wrong = () => new FaultlaneError({ code: 'BAD_ARGUMENT', what: 'a', got: 'b', expected: 'c' })
const channel = {} as Channel

/** An agent's board and bells, on which each sleep runs `onSleep`. */
function agent(onSleep: (sleeps: number, ms: number) => void = () => {}) {
  const board = new Board(allocateBoard())
  const slept: number[] = []
  let woken = 0
  const primitives: DoorbellPrimitives = {
    signal: () => {},
    sleep: (ms) => {
      slept.push(ms)
      onSleep(slept.length, ms)
    },
  }
  const doorbell = board.prefaultBell(primitives)
  const demandBell = board.demandBell({ signal: () => woken++, sleep: () => {} })
  demandBell.announce()
  const open = (opener: (timeoutMs: number) => Channel) => openPatiently(opener, board, doorbell, demandBell)
  return { board, doorbell, slept, open, woken: () => woken }
}

describe('openPatiently', () => {
  it('opens at once where the source is there', () => {
    const { open, slept } = agent()
    let allowedMs = Infinity
    const opened = open((timeoutMs) => {
      allowedMs = timeoutMs
      return channel
    })
    expect(opened).toBe(channel)
    expect(slept).toEqual([])
    expect(allowedMs).toBeLessThan(900) // What a program that is told to stop has.
  })

  it('dials again until the source is back, asleep in between', () => {
    const { open, slept } = agent()
    let dials = 0
    const opened = open(() => {
      if (++dials < 4) throw away()
      return channel
    })
    expect(opened).toBe(channel)
    expect(slept).toEqual([100, 100, 100])
  })

  it('gives up when told to stop, before the first dial too', () => {
    const { open, doorbell } = agent((sleeps) => sleeps === 2 && doorbell.stop())
    const never = () => {
      throw away()
    }
    expect(open(never)).toBeUndefined()
    let dials = 0
    expect(
      open(() => {
        dials++
        return channel
      }),
    ).toBeUndefined()
    expect(dials).toBe(0)
  })

  it('throws what is no absence of the source', () => {
    const { open, slept } = agent()
    const fail = (error: Error) => () => {
      throw error
    }
    expect(() => open(fail(wrong()))).toThrow(/a/)
    expect(() => open(fail(new TypeError('a bug')))).toThrow(TypeError)
    expect(slept).toEqual([])
  })

  it('lets go of a client that ends meanwhile, once, and wakes who waits for that', () => {
    const { open, board, slept, woken } = agent((sleeps) => sleeps === 1 && board.stop())
    board.start(-1)
    let dials = 0
    open(() => {
      if (++dials < 5) throw away()
      return channel
    })
    expect(board.isReleased()).toBe(true)
    expect(woken()).toBe(1)
    expect(slept).toEqual([100, 0, 100, 100])
  })
})
