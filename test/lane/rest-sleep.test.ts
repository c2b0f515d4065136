import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { restSleep } from '../../src/lane/rest-sleep.ts'
import { EventFd } from '../../src/native/event-fd.ts'
import { PollSet } from '../../src/native/poll-set.ts'
import { PARK_MS_MAX } from '../../src/ring/doorbell.ts'

const LONG_NS = 20e9

describe('the sleep of a rest', () => {
  const bell = new EventFd()
  const board = new Board(allocateBoard())
  const sleep = restSleep(board, bell)
  const lane = (isAwaited: boolean) => ({ takeRest: () => true, waiting: 2, isAwaited })
  const waker = board.restBell({ signal: () => bell.signal(), sleep: () => {} })
  /** What it asked poll(2) for, milliseconds, and how many descriptors had something. */
  const sleepsOf = (ns: number, resting = lane(false)) => {
    const wait = vi.spyOn(PollSet.prototype, 'wait')
    sleep(ns, resting)
    const sleeps = wait.mock.calls.map(([ms], i) => [ms, wait.mock.results[i]?.value])
    wait.mockRestore()
    return sleeps
  }
  afterEach(() => bell.drain())

  it('lasts as long as it is told to, and leaves nothing announced', () => {
    const began = performance.now()
    expect(sleepsOf(3e6)).toEqual([[3, 0]])
    expect(performance.now() - began).toBeGreaterThanOrEqual(2.9)
    expect(waker.wake()).toBe(false)
  })

  it('is none where somebody waits already', () => {
    expect(sleepsOf(LONG_NS, lane(true))).toEqual([[0, 0]])
    expect(waker.wake()).toBe(false)
  })

  it('is none for whoever rings after the last look', () => {
    let rang = false
    const resting = {
      ...lane(false),
      get isAwaited() {
        rang = waker.wake()
        return false
      },
    }
    expect([sleepsOf(LONG_NS, resting), rang]).toEqual([[], true])
    expect(sleepsOf(LONG_NS)).toEqual([[PARK_MS_MAX, 1]]) // The descriptor remembers, once.
    expect(sleepsOf(3e6)).toEqual([[3, 0]])
  })

  it('ends for another thread in the middle of it', async () => {
    const ringer = new Worker(
      `const { workerData } = require('node:worker_threads')
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
       require('node:fs').writeSync(workerData, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))`,
      { eval: true, workerData: bell.fd },
    )
    await new Promise((online) => ringer.once('online', online))
    let ready = 0
    for (let sleeps = 0; ready === 0 && sleeps < 100; sleeps++) ready = sleepsOf(LONG_NS)[0]?.[1]
    expect(ready).toBe(1)
    await ringer.terminate()
  })
})
