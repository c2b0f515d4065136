import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it } from 'vitest'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { restSleep } from '../../src/lane/rest-sleep.ts'
import { EventFd } from '../../src/native/event-fd.ts'

const LONG_NS = 20e9

describe('the sleep of a rest', () => {
  const bell = new EventFd()
  const board = new Board(allocateBoard())
  const sleep = restSleep(board, bell)
  const lane = (isAwaited: boolean) => ({ takeRest: () => true, waiting: 2, isAwaited })
  const waker = board.restBell({ signal: () => bell.signal(), sleep: () => {} })
  const sleptMs = (ns: number, resting = lane(false)) => {
    const began = performance.now()
    sleep(ns, resting)
    return performance.now() - began
  }
  afterEach(() => bell.drain())

  it('lasts as long as it is told to, and leaves nothing announced', () => {
    expect(sleptMs(3e6)).toBeGreaterThanOrEqual(2.9)
    expect(waker.wake()).toBe(false)
  })

  it('is none where somebody waits already', () => {
    expect(sleptMs(LONG_NS, lane(true))).toBeLessThan(LONG_NS / 2e6)
    expect(waker.wake()).toBe(false)
  })

  it('ends for whoever comes after the last look, and waits for no second ring', () => {
    let rang = false
    const resting = {
      ...lane(false),
      get isAwaited() {
        rang = waker.wake()
        return false
      },
    }
    expect(sleptMs(LONG_NS, resting)).toBeLessThan(LONG_NS / 2e6)
    expect(rang).toBe(true)
    bell.drain()
    expect(sleptMs(3e6)).toBeGreaterThanOrEqual(2.9)
  })

  it('ends for another thread, in the middle of it', async () => {
    const ringer = new Worker(
      `const { workerData } = require('node:worker_threads')
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
       require('node:fs').writeSync(workerData, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))`,
      { eval: true, workerData: bell.fd },
    )
    await new Promise((online) => ringer.once('online', online))
    expect(sleptMs(LONG_NS)).toBeLessThan(LONG_NS / 2e6)
    await ringer.terminate()
  })
})
