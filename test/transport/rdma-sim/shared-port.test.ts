/** The wire that fabrics in several threads and processes share: who waits for whom, and across the wrap of its clock. */
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { libc } from '../../../src/native/libc.ts'
import { parseAddress } from '../../../src/transport/rdma-sim/address.ts'
import { createPort, SharedPort } from '../../../src/transport/rdma-sim/shared-port.ts'

const PACKET_PS = 534_000
const ports: SharedPort[] = []
afterEach(() => {
  for (const port of ports.splice(0)) port.close()
})

/** Lanes on one wire, each mapped for itself; packets take 534 ns. */
function lanes(count: number, originNs = 0, dilation = 1): SharedPort[] {
  const fd = createPort('hdr200')
  const made = Array.from({ length: count }, (_, i) => new SharedPort(fd, i === 0, 'a test'))
  libc().close(fd)
  for (const port of made) port.setTime({ originNs, dilation }, PACKET_PS)
  // A wire that has been used: words that begin as zero would be a time just ahead of some origins.
  made.forEach((port, i) => {
    port.reserve(-1e12 + i * 1e10, PACKET_PS)
  })
  ports.push(...made)
  return made
}

/** At zero, and where the words wrap or change their sign within the packet. */
const ORIGINS = [0, 2 ** 31 - 300, 2 ** 32 - 300, 5 * 2 ** 32 + 2 ** 31 - 1]

describe.each(ORIGINS)('on a clock that begins at %i ns', (originNs) => {
  it('a free wire delays nobody', () => {
    const [demand, bulk] = lanes(2, originNs) as [SharedPort, SharedPort]
    expect(demand.nic).toBe('hdr200')
    expect(demand.reserve(1_234_567, PACKET_PS)).toBe(1_234_567)
    expect(bulk.reserve(9_999_999, PACKET_PS)).toBe(9_999_999)
  })

  it('demand waits for the rest of one bulk packet, whatever bulk has reserved', () => {
    const [demand, first, second] = lanes(3, originNs) as [SharedPort, SharedPort, SharedPort]
    expect(first.reserve(0, PACKET_PS)).toBe(0)
    expect(demand.reserve(100_000, PACKET_PS)).toBe(PACKET_PS)
    const [other, third, fourth] = lanes(3, originNs) as [SharedPort, SharedPort, SharedPort]
    expect(third.reserve(0, PACKET_PS)).toBe(0)
    expect(fourth.reserve(0, PACKET_PS)).toBe(PACKET_PS)
    expect(other.reserve(100_000, PACKET_PS)).toBe(100_000 + PACKET_PS)
    expect(second.reserve(0, PACKET_PS)).toBeGreaterThan(0)
  })

  it('the packets of a demand burst follow each other, and bulk goes behind them', () => {
    const [demand, bulk] = lanes(2, originNs) as [SharedPort, SharedPort]
    expect(demand.reserve(0, PACKET_PS)).toBe(0)
    expect(bulk.reserve(200_000, PACKET_PS)).toBe(PACKET_PS)
    // Bulk had the time after the first packet; the second takes it all the same.
    expect(demand.reserve(PACKET_PS, PACKET_PS)).toBe(PACKET_PS)
    expect(bulk.reserve(2 * PACKET_PS, PACKET_PS)).toBe(3 * PACKET_PS)
  })

  it('a time long past delays nobody', () => {
    const [demand, bulk] = lanes(2, originNs) as [SharedPort, SharedPort]
    demand.reserve(0, PACKET_PS)
    for (const seconds of [1, 2.2, 3, 4.2])
      expect(bulk.reserve(seconds * 1e12, PACKET_PS)).toBe(seconds * 1e12)
  })
})

it('slowed down, both lanes wait in modelled time', () => {
  const [demand, bulk] = lanes(2, 12_345, 10) as [SharedPort, SharedPort]
  bulk.reserve(0, PACKET_PS)
  expect(demand.reserve(100_000, PACKET_PS)).toBe(PACKET_PS)
})

it('whatever comes when: demand never overlaps demand, and bulk costs it one packet at most', () => {
  const step = fc.record({ isDemand: fc.boolean(), gapPs: fc.integer({ min: 0, max: 3 * PACKET_PS }) })
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 0, max: 2 ** 33 }),
      (steps, originNs) => {
        const [demand, bulk] = lanes(2, originNs) as [SharedPort, SharedPort]
        let nowPs = 0
        let demandEndPs = 0
        for (const { isDemand, gapPs } of steps) {
          nowPs += gapPs
          const startPs = (isDemand ? demand : bulk).reserve(nowPs, PACKET_PS)
          // Words are whole nanoseconds: each wait may be off by one.
          expect(startPs).toBeGreaterThanOrEqual(Math.max(nowPs, demandEndPs - 1000))
          if (!isDemand) continue
          expect(startPs).toBeLessThanOrEqual(Math.max(nowPs + PACKET_PS, demandEndPs + 1000 * steps.length))
          demandEndPs = startPs + PACKET_PS
        }
      },
    ),
  )
})

it('a port that is none is refused', () => {
  const fd = libc().memfd_create('short', 3)
  expect(() => new SharedPort(fd, true, 'the source at x')).toThrow(/expected the port of its NIC/)
  libc().close(fd)
})

describe('an rdma-sim address', () => {
  it('carries the NIC and the dilation', () => {
    const plain = { url: 'rdma-sim:/a/b', nic: null, dilation: 1 }
    expect(parseAddress('rdma-sim:/a/b')).toEqual(plain)
    expect(parseAddress('rdma-sim:/a/b?nic=hdr200&dilation=2.5')).toEqual({
      ...plain,
      nic: 'hdr200',
      dilation: 2.5,
    })
  })

  it.each([
    ['?nic=cx9', /NIC preset: got cx9/],
    ['?dilation=0', /dilation: got 0, expected a number from 1 to 1000/],
    ['?dilation=fast', /got fast/],
    ['?speed=1', /got speed, expected nic or dilation/],
  ])('refuses %s', (query, said) => {
    expect(() => parseAddress(`rdma-sim:/a/b${query}`)).toThrow(said)
  })
})
