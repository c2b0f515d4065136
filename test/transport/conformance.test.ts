/** The suite can fail: each law, broken alone, is noticed by the case that holds it. */
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { conformanceCases } from '../../src/transport/conformance.ts'
import { transport } from '../../src/transport/shm/index.ts'
import type { Channel } from '../../src/transport/transport.ts'
import { BROKEN_CHANNELS, kept } from './broken-channels.ts'
import { BROKEN_DELIVERIES } from './broken-deliveries.ts'
import { processHarness } from './process-harness.ts'
import { sharedHarness, tamperedHarness } from './tampered.ts'

const good = sharedHarness(processHarness('shm', transport, (folder) => `shm:${folder}/s`))
afterAll(() => good.stop())
beforeEach(() => {
  kept.length = 0
})

describe('the conformance suite catches', () => {
  it.each([...BROKEN_DELIVERIES, ...BROKEN_CHANNELS])('%s', async (_what, caseName, message, changes) => {
    const cases = conformanceCases(tamperedHarness(good, changes), { seed: 1, operations: 20_000 })
    const found = cases.filter(({ name }) => name.includes(caseName))
    expect(found).toHaveLength(1)
    await expect(found[0]?.run()).rejects.toThrow(message)
  })
})

describe('the conformance suite allows', () => {
  /** Answers the reads posted last first, as a transport may. */
  function lastFirst(c: Channel): Partial<Channel> {
    const posted: [number, number, number][] = []
    return {
      get credits() {
        return c.credits - posted.length
      },
      tryPostRead(id, first, count) {
        const isOutside = first < 0 || count < 1 || count > c.readPagesMax || first + count > c.info.pageCount
        if (isOutside || c.pollFd < 0) return c.tryPostRead(id, first, count)
        if (c.credits === posted.length) return false
        posted.push([id, first, count])
        return true
      },
      poll(sink, max) {
        for (let read = posted.pop(); read; read = posted.pop()) c.tryPostRead(...read)
        return c.poll(sink, max)
      },
      armForPark: () => posted.length > 0 || c.armForPark(),
    }
  }
  const harness = tamperedHarness(good, { tamper: lastFirst })
  const cases = conformanceCases({ ...harness, hasPeer: false }, { seed: 1, operations: 20_000 })
  it.each(cases.map((one) => [one.name, one] as const))('any order: %s', (_name, one) => one.run())
})
