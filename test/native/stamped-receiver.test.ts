import { afterEach, describe, expect, it } from 'vitest'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import { PollSet } from '../../src/native/poll-set.ts'
import { dialTcp, listenTcp } from '../../src/native/socket.ts'
import { StampedReceiver } from '../../src/native/stamped-receiver.ts'

const opened: number[] = []
afterEach(() => {
  for (const fd of opened.splice(0)) libc().close(fd)
})

function pair(): [number, number] {
  const { fd: listener, address } = listenTcp({ host: '127.0.0.1', port: 0 })
  const near = dialTcp(address, 1000)
  const poll = new PollSet(1)
  poll.set(0, listener, 1)
  poll.wait(1000)
  const far = libc().accept4(listener, 0, 0, 0)
  opened.push(listener, near, far)
  return [near, far]
}

describe('StampedReceiver', () => {
  it('tells how long the kernel has had the bytes, and not how long the reader slept before', async () => {
    const [near, far] = pair()
    const receiver = new StampedReceiver(far)
    const buffer = new NativeBuffer(16)
    // The kernel begins to stamp a while after it was asked to by the first socket of all (net_enable_timestamp, netstamp_work).
    for (const endMs = performance.now() + 5000; receiver.ageNs === 0 && performance.now() < endMs; ) {
      libc().send(near, buffer.address, 16, 0)
      await new Promise((resolve) => setTimeout(resolve, 5))
      receiver.receive(buffer.address, 16)
    }
    for (const [first, second] of [
      [0, 30],
      [30, 0],
    ] as const) {
      await new Promise((resolve) => setTimeout(resolve, first))
      const beforeMs = performance.now()
      libc().send(near, buffer.address, 16, 0)
      const sentMs = performance.now()
      await new Promise((resolve) => setTimeout(resolve, second))
      const poll = new PollSet(1)
      poll.set(0, far, 1)
      poll.wait(1000)
      const readingMs = performance.now()
      expect(receiver.receive(buffer.address, 16)).toBe(16)
      const readMs = performance.now()
      // Loopback delivers within send(2), or an interrupt later: before it was readable in any case.
      expect(receiver.ageNs).toBeLessThanOrEqual((readMs - beforeMs) * 1e6 + 1000)
      if (second > 0) expect(receiver.ageNs).toBeGreaterThan(((readingMs - sentMs) * 1e6) / 2)
    }
  })

  it('passes on what recv(2) would say', () => {
    const [near, far] = pair()
    const buffer = new NativeBuffer(16)
    const receiver = new StampedReceiver(near)
    expect(receiver.receive(buffer.address, 16)).toBe(-1) // EAGAIN
    libc().close(far)
    opened.splice(opened.indexOf(far), 1)
    const poll = new PollSet(1)
    poll.set(0, near, 1)
    poll.wait(1000)
    expect(receiver.receive(buffer.address, 16)).toBe(0)
  })
})
