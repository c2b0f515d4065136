import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../../src/errors.ts'
import { nicPresets } from '../../../src/transport/rdma-sim/nic-presets.ts'
import { type PerftestOptions, perftestOps, runPerftest } from '../../../src/transport/rdma-sim/perftest.ts'
import { formatPerftest } from '../../../src/transport/rdma-sim/perftest-table.ts'

function everything(seed: number): string {
  const sizes = [2, 256, 4096]
  const small = { sizes, seed, iterations: 30 }
  const options: PerftestOptions[] = []
  for (const op of perftestOps) for (const depth of [1, 20]) options.push({ ...small, op, depth })
  for (const { name: nic } of nicPresets) options.push({ ...small, nic, sizes: [4096] })
  for (const sl of ['separated', 'shared', 'same-qp'] as const)
    for (const op of ['read', 'write'] as const) options.push({ ...small, sizes: [4096], op, sl, beside: 2 })
  return options.map((o) => formatPerftest(o, runPerftest(o))).join('\n')
}

describe('the same seed and arguments', () => {
  it('give the same bytes, twice and on every version of Node', () => {
    const once = everything(7)
    expect(everything(7)).toBe(once)
    // Made on Node 20; a change of the model changes it, a change of the engine must not.
    expect(createHash('sha256').update(once).digest('hex')).toBe(
      'f3669f53872bb73c68d16f2c85575e2cf47442b0f928e73a472d34e8b413add3',
    )
  })

  it('and another seed draws others', () => {
    const row = (seed: number) => runPerftest({ op: 'write', sizes: [16], beside: 1, sl: 'shared', seed })[0]!
    expect(row(1)).not.toEqual(row(2))
  })
})

describe('bad options', () => {
  const bad: PerftestOptions[] = [
    { nic: 'cx9' },
    { op: 'push' as 'read' },
    { depth: 0 },
    { depth: 1.5 },
    { sizes: [0] },
    { beside: -1 },
    { sl: 'x' as 'shared' },
    { seed: 0.5 },
    { iterations: 0 },
  ]
  it.each(bad)('%o names what is wrong', (options) => {
    expect(() => runPerftest(options)).toThrow(FaultlaneError)
  })
})
