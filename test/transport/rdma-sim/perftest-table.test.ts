import { describe, expect, it } from 'vitest'
import { nicPresets } from '../../../src/transport/rdma-sim/nic-presets.ts'
import { type PerftestOptions, runPerftest } from '../../../src/transport/rdma-sim/perftest.ts'
import { formatPerftest } from '../../../src/transport/rdma-sim/perftest-table.ts'

const print = (options: PerftestOptions) =>
  formatPerftest(options, runPerftest({ iterations: 10, ...options }))

describe('the table for people', () => {
  it.each(nicPresets)(
    '$name: names the origin of every figure, and says where a READ is an estimate',
    (preset) => {
      const text = print({ nic: preset.name, sizes: [4096] })
      for (const [name, { note }] of Object.entries(preset.figures)) {
        const line = text.split('\n').find((candidate) => candidate.trim().startsWith(`${name} `))
        expect(line).toMatch(/ (published|derived|recalled|guess) /)
        expect(line).toContain(note)
      }
      expect(text.includes('estimate')).toBe(!preset.isReadCalibrated)
    },
  )

  it('has a row for each size and, beside streams, what they got', () => {
    const lines = print({ op: 'write', sizes: [16, 4096], beside: 1, sl: 'shared' }).split('\n')
    expect(lines[1]).toMatch(/op +#bytes +depth +t_typical\[us\] +t_99\[us\].+bulk Gb\/s$/)
    expect(lines[2]).toMatch(/^ *write +16 +1 /)
    expect(lines[3]).toMatch(/^ *write +4096 +1 /)
  })

  it('atomics have one size', () => {
    expect(runPerftest({ op: 'cmp-swap', iterations: 10 }).map((row) => row.size)).toEqual([8])
  })
})
