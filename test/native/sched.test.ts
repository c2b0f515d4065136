import { describe, expect, it } from 'vitest'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import { allowedProcessors, pinThread } from '../../src/native/sched.ts'

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
