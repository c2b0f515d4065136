import { describe, it } from 'vitest'
import { conformanceCases } from '../../src/transport/conformance.ts'
import { transport } from '../../src/transport/rdma-sim/index.ts'
import { processHarness } from './process-harness.ts'

describe('rdma-sim keeps the contract', () => {
  const harness = processHarness('rdma-sim', transport, (folder) => `rdma-sim:${folder}/s`)
  for (const { name, run } of conformanceCases(harness)) it(name, run)
})
