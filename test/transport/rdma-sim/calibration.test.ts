/**
 * Virtual time at every calibration point: latencies within 1 %, rates within 3 %. The points are the published
 * figures, not the parameters fitted on them.
 */
import { describe, expect, it } from 'vitest'
import { type PerftestOptions, runPerftest } from '../../../src/transport/rdma-sim/perftest.ts'

const row = (options: PerftestOptions, size: number) => runPerftest({ ...options, sizes: [size] })[0]!
const within = (value: number, point: number, share: number) =>
  expect(Math.abs(value / point - 1), `${value} against ${point}`).toBeLessThanOrEqual(share)

const KIB = 1024
type Latency = [nic: string, op: 'read' | 'write' | 'send' | 'fetch-add', size: number, us: number]
const latencies: Latency[] = [
  ['cx3-qdr40', 'read', 2, 1.99],
  ['cx3-qdr40', 'read', 2 * KIB, 3.45],
  ['cx3-qdr40', 'read', 64 * KIB, 20.0],
  ['cx3-qdr40', 'write', 256, 1.84],
  ['cx3-qdr40', 'fetch-add', 8, 2.34],
  ['mlx4-qdr40', 'read', 2, 1.74],
  ['mlx4-qdr40', 'read', 4 * KIB, 5.18],
  ['mlx4-qdr40', 'read', 64 * KIB, 23.4],
  ['edr100', 'read', 2, 1.9],
  ['edr100', 'send', 32, 0.83],
  ['edr100', 'send', KIB, 1.61],
  ['edr100', 'send', 32 * KIB, 4.57],
  ['hdr200', 'write', 2, 1.87],
  ['hdr200', 'read', 2, 3.74],
  ['ndr400', 'send', 2, 1.27],
  ['ndr400', 'read', 2, 2.4],
  ['rxe', 'write', 2, 1.84],
  ['rxe', 'write', 4 * KIB, 2.58],
  ['cx3pro-ib56', 'write', 16, 1.3],
  ['cx4-roce40', 'write', 16, 1.7],
  ['cx4-ib100', 'write', 16, 1.5],
]

it.each(latencies)('%s %s %i B: %d µs', (nic, op, size, us) => {
  within(row({ nic, op }, size).t_typical_us, us, 0.01)
})

it('edr100: a switch adds 0.27 µs each way', () => {
  const edr = { nic: 'edr100', switchHops: 1 }
  within(row({ ...edr, op: 'send' }, 32).t_typical_us, 0.83 + 0.27, 0.01)
  within(row(edr, 2).t_typical_us, 1.9 + 2 * 0.27, 0.01)
})

describe('rates, 128 outstanding', () => {
  const messages: [string, 'read' | 'write' | 'fetch-add', number, number][] = [
    ['cx3-qdr40', 'read', 8, 6.208],
    ['cx3-qdr40', 'read', KIB, 2.85],
    ['cx3-qdr40', 'read', 2 * KIB, 1.678],
    ['cx3-qdr40', 'fetch-add', 8, 2.447],
    ['mlx4-qdr40', 'read', 8, 5.2],
    ['edr100', 'read', 8, 5.4],
    ['hdr200', 'write', 8, 4.88],
  ]
  it.each(messages)('%s %s %i B: %d million a second', (nic, op, size, mpps) => {
    within(row({ nic, op, depth: 128 }, size).mpps, mpps, 0.03)
  })

  const caps: [string, 'read' | 'write', number][] = [
    ['mlx4-qdr40', 'read', 24.3],
    ['mlx4-qdr40', 'write', 25.1],
    ['edr100', 'write', 96.6],
    ['hdr200', 'write', 195.6],
    ['ndr400', 'write', 392.3],
    ['ndr400', 'read', 328.6],
  ]
  it.each(caps)('%s %s: %d Gb/s', (nic, op, gbps) => {
    within(row({ nic, op, depth: 128 }, 2 ** 20).gbps, gbps, 0.03)
  })
})

describe('tails: host noise, apart from the model', () => {
  it('cx3-qdr40 READ 2 B: p99 1.07 of the median, p99.9 9.95 µs, with any seed', () => {
    for (const seed of [1, 2, 3, 77, 12345]) {
      const { t_typical_us, t_99_us, t_999_us } = row({ seed }, 2)
      within(t_typical_us, 1.99, 0.01)
      within(t_99_us / t_typical_us, 1.07, 0.01)
      within(t_999_us, 9.95, 0.01)
    }
  })

  const alone: [string, number][] = [
    ['cx3pro-ib56', 1.4],
    ['cx4-roce40', 1.7],
    ['cx4-ib100', 1.6],
  ]
  it.each(alone)('%s WRITE 16 B alone: p99 %d µs', (nic, us) => {
    within(row({ nic, op: 'write' }, 16).t_99_us, us, 0.01)
  })
})

describe('interference: a 16 B WRITE beside 1 MB WRITE streams of the same class', () => {
  const points: [string, number, number, number][] = [
    ['cx3pro-ib56', 2, 6.1, 48],
    ['cx4-roce40', 1, 6.5, 30.5],
    ['cx4-ib100', 1, 12.9, 86.5],
  ]
  it.each(points)('%s beside %i: %d µs, bulk %d Gb/s', (nic, beside, us, gbps) => {
    const beside_ = row({ nic, op: 'write', beside, sl: 'shared' }, 16)
    within(beside_.t_typical_us, us, 0.01)
    within(beside_.bulk_gbps!, gbps, 0.03)
  })
})

describe('the latency formula where nothing was fitted', () => {
  it.each([1, 64, 512, 1000, 3000, 4096, 8192, 2 ** 20, 2 ** 23])('cx3-qdr40 READ %i B', (size) => {
    const t = 1.989 + 0.7136e-3 * Math.min(size, 2048) + 0.2607e-3 * Math.max(0, size - 2048)
    within(row({ iterations: 24 }, size).t_typical_us, t, 0.01)
  })

  it('in flight are never more than 16 READs, so a deeper queue is not faster', () => {
    const deep = row({ depth: 128 }, 8).mpps
    expect(row({ depth: 16 }, 8).mpps / deep).toBeGreaterThan(0.999)
    expect(row({ depth: 2 }, 8).mpps / deep).toBeLessThan(0.5)
  })
})
