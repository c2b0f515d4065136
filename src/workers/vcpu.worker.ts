/** Wiring: one vCPU of a measured client in one thread. */
import { once } from 'node:events'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { VcpuPlan, VcpuStart } from './plans.ts'
import { runWorker } from './run-worker.ts'
import { VCPU_PHASE, Vcpu } from './vcpu.ts'

await runWorker('vcpu', parentPort, async (tell) => {
  const vcpu = new Vcpu(workerData as VcpuPlan)
  vcpu.warmUp()
  const started = once(parentPort as MessagePort, 'message')
  tell({ kind: 'ready' })
  const [start] = (await started) as [VcpuStart]
  if (start.kind === 'none') return
  tell({ kind: 'touched', elapsedMs: vcpu.touch(start) })
  if (vcpu.waitForPhase(VCPU_PHASE.SWEEP) === VCPU_PHASE.SWEEP) vcpu.sweep()
})
