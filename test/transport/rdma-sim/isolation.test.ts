/** What a demand READ pays beside bulk READs: by service level, by queue pair, and where the arbiter stands. */
import { describe, expect, it } from 'vitest'
import { NicModel } from '../../../src/transport/rdma-sim/nic-model.ts'
import { nicPreset, nicPresets } from '../../../src/transport/rdma-sim/nic-presets.ts'
import { type PerftestOptions, runPerftest } from '../../../src/transport/rdma-sim/perftest.ts'

const PAGE = 4096
const READ_BULK = 65536
const READS_IN_FLIGHT = 16

const page = (options: PerftestOptions) => runPerftest({ sizes: [PAGE], iterations: 200, ...options })[0]!
/** Without what the host adds. */
const tail99 = (nic: string): number => nicPreset(nic).figures.tail99.value / 1000

describe.each(nicPresets.map((preset) => preset.name))(
  '%s: a 4 KiB READ beside bulk READs that saturate',
  (nic) => {
    const model = new NicModel(nicPreset(nic).figures)
    const alone = page({ nic }).t_typical_us

    it('on a high-priority lane: at most one packet on the wire and the shared engine more than alone', () => {
      for (const beside of [1, 4]) {
        const packetUs = model.sharedWirePs(model.mtu, true) / 1e6
        const sharedUs = (model.contentionPs + model.enginePs) / 1e6
        // Its own packets go at the shared rate too: that is the wire's, not a wait.
        const ownUs = (model.sharedWirePs(PAGE, true) - model.wirePs(PAGE)) / 1e6
        const separated = page({ nic, beside, sl: 'separated' })
        expect(separated.t_99_us - tail99(nic)).toBeLessThanOrEqual(
          alone + packetUs + sharedUs + ownUs + 0.001,
        )
        expect(separated.t_typical_us).toBeGreaterThanOrEqual(alone)
      }
    })

    it('on the same queue pair: all of them first', () => {
      const same = page({ nic, beside: 1, sl: 'same-qp', iterations: 30 })
      const oneUs = model.wirePs(READ_BULK) / 1e6
      expect(same.t_typical_us).toBeGreaterThan((READS_IN_FLIGHT - 1.5) * oneUs)
      expect(same.t_typical_us).toBeLessThan(alone + (READS_IN_FLIGHT + 1) * 1.15 * oneUs)
    })

    it('on the same lane: behind what has been asked for, a READ of 64 KiB after the other', () => {
      // Two streams: one alone does not saturate where a queue pair is slower than the wire.
      const shared = page({ nic, beside: 2, sl: 'shared', iterations: 60 })
      const oneUs = model.sharedWirePs(READ_BULK, true) / 1e6
      const waits = (shared.t_typical_us - alone) / oneUs
      expect(waits).toBeGreaterThan(0.75 * 2 * READS_IN_FLIGHT)
      expect(waits).toBeLessThanOrEqual(2 * READS_IN_FLIGHT)
    })
  },
)

describe('the derived table of the waits on one lane', () => {
  it.each([
    ['cx3-qdr40', 17.1],
    ['edr100', 5.3],
    ['hdr200', 2.65],
    ['ndr400', 1.33],
  ])('%s: %d µs for each 64 KiB READ before it', (nic, us) => {
    const model = new NicModel(nicPreset(nic).figures)
    expect(Math.abs(model.wirePs(READ_BULK) / 1e6 / us - 1)).toBeLessThan(0.02)
  })
})

describe('WRITEs of one class', () => {
  it('wait for one burst of each stream', () => {
    const us = [1, 2, 4, 8].map(
      (beside) =>
        runPerftest({ nic: 'cx3pro-ib56', op: 'write', sizes: [16], beside, sl: 'shared' })[0]!.t_typical_us,
    )
    const burstUs = (7 * 2048 * 0.16667) / 1000
    for (const [i, streams] of [1, 2, 4, 8].entries())
      expect(Math.abs(us[i]! - us[0]! - (streams - 1) * burstUs)).toBeLessThan(0.1)
  })

  it('of two hardware queues: a residual packet instead of a burst', () => {
    const write = (sl: 'separated' | 'shared') =>
      runPerftest({ nic: 'cx4-roce40', op: 'write', sizes: [16], beside: 1, sl })[0]!
    expect(write('separated').t_99_us).toBeLessThan(1.7 + 0.269 + 0.1 + 0.01)
    expect(write('shared').t_99_us).toBeGreaterThan(6)
  })
})
