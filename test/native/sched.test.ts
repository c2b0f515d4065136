import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { describe, expect, it } from 'vitest'
import { libc } from '../../src/native/libc.ts'
import {
  allowedProcessors,
  keepThread,
  lengthenTurns,
  nameThread,
  scheduleThread,
} from '../../src/native/sched.ts'
import { otherThreads } from '../../src/native/threads.ts'

describe('keepThread', () => {
  it('keeps the calling thread on some processors, and refuses one that does not exist', () => {
    const before = allowedProcessors()
    const last = before.at(-1) as number
    try {
      expect(keepThread([last])).toBe(true)
      expect(allowedProcessors()).toEqual([last])
      expect(keepThread([-1])).toBe(false)
      expect(keepThread([1023])).toBe(false)
      expect(keepThread([last, 5000])).toBe(false)
      expect(allowedProcessors()).toEqual([last])
    } finally {
      expect(keepThread(before)).toBe(true)
    }
    expect(allowedProcessors()).toEqual(before)
  })
})

describe('otherThreads', () => {
  it('are all threads but the calling one, and can be pinned by their number', () => {
    const threads = otherThreads()
    expect(threads.length).toBeGreaterThan(0) // The engine has helpers.
    expect(threads).not.toContain(libc().gettid())
    expect(keepThread(allowedProcessors().slice(0, 1), 2 ** 22 + 1)).toBe(false) // No such thread.
  })
})

describe('scheduleThread', () => {
  it('leaves the niceness that the thread was started with, and never asks for more than there is', () => {
    const tid = libc().gettid()
    const before = getPriority(tid)
    scheduleThread(0, 100_000)
    expect(getPriority(tid)).toBe(before)
    scheduleThread(1, 20e6)
    expect(getPriority(tid)).toBe(Math.min(19, before + 1))
    scheduleThread(40, 20e6)
    expect(getPriority(tid)).toBe(19)
    scheduleThread(before - 19, 3e6) // As it was, where that is allowed.
  })
})

describe('lengthenTurns', () => {
  /** Nanoseconds; undefined where the kernel does not say. */
  const sliceIn = (text: string) => /se\.slice\D+(\d+)/.exec(text)?.[1]
  const ownSlice = () => sliceIn(readFileSync('/proc/thread-self/sched', 'latin1'))

  it.runIf(ownSlice() !== undefined)(
    'is for one thread as nice as before, and for nobody that it starts',
    () => {
      const tid = libc().gettid()
      const before = getPriority(tid)
      const usual = ownSlice()
      lengthenTurns(0, 20e6)
      expect([ownSlice(), getPriority(tid)]).toEqual(['20000000', before])
      expect(sliceIn(execFileSync('cat', ['/proc/self/sched'], { encoding: 'latin1' }))).not.toBe('20000000')
      lengthenTurns(tid, 10e6) // By its number.
      expect(ownSlice()).toBe('10000000')
      lengthenTurns(0, Number(usual)) // What is not inherited stays so: to take that back needs a privilege.
      expect(ownSlice()).toBe(usual)
    },
  )

  it('refuses a thread that is none', () => {
    expect(() => lengthenTurns(2 ** 22 + 1, 20e6)).toThrow()
  })
})

describe('nameThread', () => {
  it('names this thread for the kernel, with the first 15 bytes', () => {
    const name = () => readFileSync('/proc/thread-self/comm', 'latin1').trimEnd()
    const before = name()
    nameThread('fl-demand')
    expect(name()).toBe('fl-demand')
    nameThread('a-name-of-more-than-15')
    expect(name()).toBe('a-name-of-more-')
    nameThread(before)
    expect(name()).toBe(before)
  })
})
