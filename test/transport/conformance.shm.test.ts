import { describe, it } from 'vitest'
import { conformanceCases } from '../../src/transport/conformance.ts'
import { transport } from '../../src/transport/shm/index.ts'
import { processHarness } from './process-harness.ts'

describe('shm keeps the contract', () => {
  const harness = processHarness('shm', transport, (folder) => `shm:${folder}/s`)
  for (const { name, run } of conformanceCases(harness)) it(name, run)
})
