import { describe, expect, it } from 'vitest'
import { Doorbell, PARK_MS_MAX } from '../../src/ring/doorbell.ts'

/** Primitives that only take notes. */
function noted() {
  const notes: string[] = []
  const primitives = {
    signal: () => void notes.push('signal'),
    sleep: (ms: number) => void notes.push(`sleep ${ms}`),
  }
  return { notes, doorbell: new Doorbell(new Int32Array(1), 0, primitives) }
}

describe('doorbell', () => {
  it('signals nobody who did not announce, and each announcement once', () => {
    const { notes, doorbell } = noted()
    expect(doorbell.wake()).toBe(false)
    doorbell.announce()
    doorbell.announce()
    expect(doorbell.wake()).toBe(true)
    expect(doorbell.wake()).toBe(false)
    expect(notes).toEqual(['signal'])
  })

  it('sleeps only when announced and not woken since, and is up afterwards', () => {
    const { notes, doorbell } = noted()
    doorbell.park(5)
    doorbell.announce()
    doorbell.wake()
    doorbell.park(5)
    expect(notes).toEqual(['signal'])
    doorbell.announce()
    doorbell.park(5)
    expect(notes).toEqual(['signal', 'sleep 5'])
    expect(doorbell.wake()).toBe(false)
  })

  it('never sleeps longer than the bound', () => {
    const { notes, doorbell } = noted()
    doorbell.announce()
    doorbell.park(Number.POSITIVE_INFINITY)
    expect(notes).toEqual([`sleep ${PARK_MS_MAX}`])
  })

  it('is stopped for ever: no announcement and no wake undoes it, and nothing sleeps on it again', () => {
    const { notes, doorbell } = noted()
    doorbell.announce()
    expect(doorbell.isStopped()).toBe(false)
    doorbell.stop()
    expect(notes).toEqual(['signal'])
    doorbell.announce()
    doorbell.park(5)
    doorbell.announce()
    doorbell.wake()
    expect(notes).toEqual(['signal', 'signal'])
    expect(doorbell.isStopped()).toBe(true)
  })

  it('over its own futex comes back when nobody wakes it', () => {
    const doorbell = new Doorbell(Doorbell.allocate(), 0)
    doorbell.announce()
    doorbell.park(1)
    expect(doorbell.wake()).toBe(false)
  })
})
