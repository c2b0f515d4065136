/** A thread of its own for a role: where its program lies, and how much it may take. */
import { Worker } from 'node:worker_threads'

export type Thread = Worker

export type Role = 'demand' | 'lazy' | 'placing' | 'prefault' | 'source' | 'toucher' | 'vcpu' | 'watcher'

/** Under a test runner this file runs as TypeScript, but a worker needs what the build made of it. The path is right from any room of dist. */
function workerUrl(role: Role): URL {
  const isSource = import.meta.url.endsWith('.ts')
  return new URL(
    isSource ? `../../dist/workers/${role}.worker.js` : `../workers/${role}.worker.js`,
    import.meta.url,
  )
}

/** @param plan what it is started with; undefined: it is posted that, when it is known */
export function startThread(role: Role, plan?: unknown): Thread {
  return new Worker(workerUrl(role), {
    workerData: plan,
    name: `faultlane-${role}`,
    // Small heaps: the page path allocates nothing.
    resourceLimits: { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 8 },
  })
}
