/**
 * Opens the channel of an agent that nobody waits for. A source that is not there at that moment is dialled again until it is: its
 * loss is the demand agent's to tell, and a client that ends meanwhile is let go of.
 */
import { FaultlaneError } from '../errors.ts'
import { type Board, PHASE } from '../lane/board.ts'
import type { Doorbell } from '../ring/doorbell.ts'
import type { Channel } from '../transport/transport.ts'
import { DIAL_MS_MAX } from './redialling.ts'

const AGAIN_MS = 100
/** The source that was there has gone, or another is in its place. */
const IS_AWAY = new Set([
  'CONNECT_FAILED',
  'CHANNEL_CLOSED',
  'PROTOCOL',
  'VERSION_MISMATCH',
  'GEOMETRY_MISMATCH',
])

/**
 * @param doorbell the agent's; its sleep is an idle one as long as there is no channel
 * @returns undefined when told to stop. Throws what is no absence of the source.
 */
export function openPatiently(
  open: (timeoutMs: number) => Channel,
  board: Board,
  doorbell: Doorbell,
  demandBell: Doorbell,
): Channel | undefined {
  while (!doorbell.isStopped()) {
    try {
      return open(DIAL_MS_MAX)
    } catch (error) {
      if (!(error instanceof FaultlaneError && IS_AWAY.has(error.code))) throw error
    }
    doorbell.announce()
    doorbell.park(letGo(board, demandBell) ? 0 : AGAIN_MS)
  }
  return undefined
}

/** True when the demand agent was waiting for it. */
function letGo(board: Board, demandBell: Doorbell): boolean {
  if (board.phase() !== PHASE.STOPPING || board.isReleased()) return false
  board.release(board.epoch())
  demandBell.wake()
  return true
}
