import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { touchFreeMemory } from '../../src/memory/free-memory.ts'

const mappedBytes = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) * 4096

describe('touchFreeMemory', () => {
  it('touches every page, says how long one took, and gives all of it back', () => {
    const before = mappedBytes()
    const us = touchFreeMemory(64 << 20, 1 << 30)
    // Linux before 5.14 does not know how.
    expect(Number.isNaN(us) || us > 0).toBe(true)
    expect(mappedBytes() - before).toBeLessThan(32 << 20)
  })

  it('touches nothing where less than a page is asked for, or half of what is free is less', () => {
    expect(touchFreeMemory(4095, 1 << 30)).toBeNaN()
    expect(touchFreeMemory(1 << 30, 8191)).toBeNaN()
  })
})
