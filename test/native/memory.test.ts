import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../src/errors.ts'
import { ERRNO, MAP, POLL, PROT } from '../../src/native/abi.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { EventFd } from '../../src/native/event-fd.ts'
import { addressOf, check, libc, systemError, viewOf } from '../../src/native/libc.ts'
import { PollSet } from '../../src/native/poll-set.ts'

describe('libc', () => {
  it('returns a refused call as -1 with its errno, and as an error that names it', () => {
    const result = libc().close(-1)
    expect(result).toBe(-1)
    expect(libc().errno()).toBe(ERRNO.EBADF)
    libc().close(-1)
    expect(() => check(-1, 'close', 'descriptor -1')).toThrow(
      'close failed with EBADF (errno 9) on descriptor -1',
    )
    expect(check(5, 'read', 'anything')).toBe(5)
    const { failure } = systemError('open', 'a file', 4242)
    expect(failure).toEqual({ code: 'SYSTEM', call: 'open', errno: 4242, name: 'E4242', about: 'a file' })
    expect(systemError('open', 'a file', 2)).toBeInstanceOf(FaultlaneError)
  })

  it('sees the same bytes at an address as JavaScript does', () => {
    const address = check(
      libc().mmap(0, 8192, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0),
      'mmap',
      'test',
    )
    const bytes = new Uint8Array(viewOf(address, 8192))
    bytes[8191] = 7
    const shared = new Uint8Array(new SharedArrayBuffer(8192))
    libc().memcpy(addressOf(shared), address, 8192)
    expect(shared[8191]).toBe(7)
    libc().memset(address, 9, 100)
    expect([bytes[99], bytes[100]]).toEqual([9, 0])
    expect(libc().memcmp(address, addressOf(shared), 8192)).not.toBe(0)
    expect(addressOf(shared.subarray(5))).toBe(addressOf(shared) + 5)
    libc().munmap(address, 8192)
  })
})

describe('NativeBuffer', () => {
  it('keeps any number below 2^53 as a little-endian u64', () => {
    const buffer = new NativeBuffer(64)
    const view = new DataView(buffer.buffer, buffer.u8.byteOffset, buffer.bytes)
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.nat(14), (value, word) => {
        buffer.setU64(word * 4, value)
        expect(buffer.getU64(word * 4)).toBe(value)
        expect(view.getBigUint64(word * 4, true)).toBe(BigInt(value))
      }),
    )
  })

  it('lies where it says, aligned, with all its views over the same bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(8, 64, 4096), (bytes, align) => {
        const buffer = new NativeBuffer(bytes, align)
        expect(buffer.address % align).toBe(0)
        expect(buffer.bytes).toBe(Math.ceil(bytes / 8) * 8)
        expect(addressOf(buffer.u8)).toBe(buffer.address)
        for (const view of [buffer.u8, buffer.i16, buffer.i32, buffer.u32]) {
          expect(view.byteLength).toBe(buffer.bytes)
          expect(view.byteOffset).toBe(buffer.u8.byteOffset)
        }
      }),
      { numRuns: 50 },
    )
  })
})

describe('EventFd and PollSet', () => {
  it('tell which doorbell was signalled, however often, until it is drained', () => {
    const before = readdirSync('/proc/self/fd').length
    const [one, two] = [new EventFd(), new EventFd()]
    const poll = new PollSet(4)
    poll.set(0, one.fd, POLL.IN)
    poll.set(3, two.fd, POLL.IN)
    poll.set(1, -1, POLL.IN) // Left out.
    poll.set(2, -1, POLL.IN)
    expect(poll.wait(0)).toBe(0)
    two.signal()
    two.signal()
    expect(poll.wait(1000)).toBe(1)
    expect([0, 1, 2, 3].map((slot) => poll.revents(slot))).toEqual([0, 0, 0, POLL.IN])
    two.drain()
    two.drain() // Nothing to drain, and no waiting for it.
    expect(poll.wait(0)).toBe(0)
    const same = new EventFd(one.fd) // Another thread's end.
    same.signal()
    poll.set(3, -1, POLL.IN)
    expect(poll.wait(1000)).toBe(1)
    expect(poll.revents(0)).toBe(POLL.IN)
    expect(poll.revents(3)).toBe(0)
    one.close()
    two.close()
    expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  })

  it('report a descriptor that is not open', () => {
    const poll = new PollSet(1)
    poll.set(0, 99_999, POLL.IN)
    expect(poll.wait(0)).toBe(1)
    expect(poll.revents(0)).toBe(POLL.NVAL)
  })
})
