import { describe, it } from 'vitest'
import { conformanceCases } from '../../src/transport/conformance.ts'
import { transport } from '../../src/transport/tcp/index.ts'
import { processHarness } from './process-harness.ts'

describe('tcp keeps the contract', () => {
  const harness = processHarness('tcp', transport, () => 'tcp://127.0.0.1:0')
  for (const { name, run } of conformanceCases(harness)) it(name, run)
})
