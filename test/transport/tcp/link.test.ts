import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Link } from '../../../src/transport/tcp/link.ts'
import { parseLink } from '../../../src/transport/tcp/link-spec.ts'

const specs = fc.record({
  bytesPerSecond: fc.constantFrom(0, 1e6, 125e6, 1.25e9),
  rttNs: fc.constantFrom(0, 50e3, 1e6, 25e6),
  queueBytes: fc.integer({ min: 4096, max: 1 << 20 }),
})
const traffic = fc.array(
  fc.record({ gapNs: fc.integer({ min: 0, max: 200_000 }), bytes: fc.integer({ min: 16, max: 20_000 }) }),
  { minLength: 1, maxLength: 200 },
)

describe('Link', () => {
  it('delivers in the order it took, no faster than its rate, and never before half a round trip', () => {
    fc.assert(
      fc.property(specs, traffic, (spec, frames) => {
        const link = new Link(spec)
        let nowNs = 0
        let firstNs = -1
        let lastArrivalNs = 0
        let bytes = 0
        for (const frame of frames) {
          nowNs += frame.gapNs
          if (firstNs < 0) firstNs = nowNs
          const arrivalNs = link.take(frame.bytes, nowNs)
          bytes += frame.bytes
          expect(arrivalNs).toBeGreaterThanOrEqual(lastArrivalNs)
          const ownNs = spec.bytesPerSecond === 0 ? 0 : (frame.bytes / spec.bytesPerSecond) * 1e9
          expect(arrivalNs).toBeGreaterThanOrEqual(nowNs + ownNs + spec.rttNs / 2 - 1e-3)
          const allNs = spec.bytesPerSecond === 0 ? 0 : (bytes / spec.bytesPerSecond) * 1e9
          expect(arrivalNs - spec.rttNs / 2).toBeGreaterThanOrEqual(firstNs + allNs - 1)
          lastArrivalNs = arrivalNs
        }
      }),
    )
  })

  it('is never idle while something stands in its queue: a busy period lasts exactly its bytes', () => {
    fc.assert(
      fc.property(specs, fc.array(fc.integer({ min: 16, max: 20_000 }), { minLength: 1 }), (spec, frames) => {
        const link = new Link(spec)
        let arrivalNs = 0
        for (const bytes of frames) arrivalNs = link.take(bytes, 0)
        const bytes = frames.reduce((sum, frame) => sum + frame, 0)
        const busyNs = spec.bytesPerSecond === 0 ? 0 : (bytes / spec.bytesPerSecond) * 1e9
        expect(arrivalNs).toBeCloseTo(busyNs + spec.rttNs / 2, 0)
      }),
    )
  })

  it('holds no more than its queue when only that is taken for which there is room', () => {
    fc.assert(
      fc.property(specs, traffic, (spec, frames) => {
        const link = new Link(spec)
        const taken: { bytes: number; departsNs: number }[] = []
        let nowNs = 0
        for (const frame of frames) {
          nowNs += frame.gapNs
          if (frame.bytes > spec.queueBytes || nowNs < link.roomAtNs(frame.bytes)) continue
          taken.push({ bytes: frame.bytes, departsNs: link.take(frame.bytes, nowNs) - spec.rttNs / 2 })
          // What has not begun to leave stands in the queue whole; the one that is leaving counts for its rest.
          let queued = 0
          for (const { bytes, departsNs } of taken) {
            const leftNs = Math.max(0, departsNs - nowNs)
            queued += Math.min(bytes, (leftNs / 1e9) * spec.bytesPerSecond)
          }
          expect(queued).toBeLessThanOrEqual(spec.queueBytes + 1)
        }
      }),
    )
  })

  it('shows a request half a round trip after it came', () => {
    const link = new Link(parseLink('1Gbit/100us'))
    expect(link.requestVisibleNs(7000)).toBe(57_000)
  })
})

describe('parseLink', () => {
  it.each([
    ['1Gbit/100us/256KiB', 125e6, 100e3, 256 * 1024],
    ['10Gbit/0', 1.25e9, 0, 256 * 1024],
    ['1gbit/200us', 125e6, 200e3, 256 * 1024],
    ['8Kbit/1s', 1000, 1e9, 256 * 1024],
    ['100Mbit/25ms/1MiB', 12.5e6, 25e6, 1 << 20],
    ['max/6ms', 0, 6e6, 256 * 1024],
  ])('reads %s', (text, bytesPerSecond, rttNs, queueBytes) => {
    expect(parseLink(text)).toEqual({ bytesPerSecond, rttNs, queueBytes })
  })
  it.each(['', '1Gbit', '1GB/1us', '1Gbit/100', '1Gbit/1us/1', '1Gbit/1us/64KiB/2', '-1Gbit/1us', '/'])(
    'refuses %j and says what is right',
    (text) => expect(() => parseLink(text)).toThrow(/RATE\/RTT/),
  )
})
