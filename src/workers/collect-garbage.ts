/**
 * Empties the young part of this thread's heap of what its start has left, so that no collection comes upon the first
 * faults for it. Not the old part: a full collection forgets compiled code.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (options: { type: 'minor' | 'major' }) => void

export function collectYoungGarbage(): void {
  collectGarbage('minor')
}

/** Before anything is compiled: so that nothing is left for which the engine would do it later. */
export function collectAllGarbage(): void {
  collectGarbage('major')
}

function collectGarbage(type: 'minor' | 'major'): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('typeof gc === "function" ? gc : undefined') as Collect | undefined
  setFlagsFromString('--no-expose-gc')
  collect?.({ type })
}
