import { describe, it } from 'vitest'
import { conformanceCases } from '../../src/transport/conformance.ts'
import { transport } from '../../src/transport/tcp/index.ts'
import { processHarness } from './process-harness.ts'

// A delay, a rate and a queue that is full most of the time must change nothing but when pages come.
describe.each(['max/1ms', '1Gbit/0/8KiB'])('tcp behind the emulated link %s keeps the contract', (link) => {
  const harness = processHarness('tcp', transport, () => 'tcp://127.0.0.1:0', link)
  for (const { name, run } of conformanceCases(harness)) it(name, run)
})
