import { getPriority } from 'node:os'
import { describe, expect, it } from 'vitest'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import { allowedProcessors, otherThreads, pinThread, scheduleThread } from '../../src/native/sched.ts'

describe('pinThread', () => {
  it('keeps the calling thread on one processor, and refuses one that does not exist', () => {
    const before = allowedProcessors()
    const last = before.at(-1) as number
    try {
      expect(pinThread(last)).toBe(true)
      expect(allowedProcessors()).toEqual([last])
      expect(pinThread(-1)).toBe(false)
      expect(pinThread(1023)).toBe(false)
      expect(pinThread(5000)).toBe(false)
      expect(allowedProcessors()).toEqual([last])
    } finally {
      const set = new NativeBuffer(128)
      for (const cpu of before) set.u8[cpu >> 3]! |= 1 << (cpu & 7)
      libc().sched_setaffinity(0, 128, set.address)
    }
    expect(allowedProcessors()).toEqual(before)
  })
})

describe('otherThreads', () => {
  it('are all threads but the calling one, and can be pinned by their number', () => {
    const threads = otherThreads()
    expect(threads.length).toBeGreaterThan(0) // The engine has helpers.
    expect(threads).not.toContain(libc().gettid())
    expect(pinThread(allowedProcessors()[0] as number, 2 ** 22 + 1)).toBe(false) // No such thread.
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
