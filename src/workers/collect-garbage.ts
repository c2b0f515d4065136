/**
 * Empties the young part of this thread's heap of what its start has left, so that no collection comes upon the first
 * faults for it. Not the old part: a full collection forgets compiled code.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (options: { type: 'minor' }) => void

export function collectYoungGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('typeof gc === "function" ? gc : undefined') as Collect | undefined
  setFlagsFromString('--no-expose-gc')
  collect?.({ type: 'minor' })
}
