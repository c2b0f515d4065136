/** What each lane's connection asks of the kernel, at both ends. */
import { isOn, type LevelName } from '../../levels.ts'
import type { SocketTuning } from '../../native/socket.ts'
import type { Lane } from '../transport.ts'

/** Priority 6 (interactive) and DSCP EF: the first band of pfifo_fast and the priority queue of a switch. */
const DEMAND_MARKS: SocketTuning = { priority: 6, tos: 0xb8 }
/** Priority 2 (bulk) and DSCP CS1 (scavenger). */
const BULK_MARKS: SocketTuning = { priority: 2, tos: 0x20 }
/** BBR paces: it takes a lane that asks for one page at a time for a slow road and spreads each reply over it. */
const DEMAND_CONGESTION = 'reno'

export type LaneTuning = Readonly<Record<Lane, SocketTuning>>

/** Of a destination, which sends requests only. */
export function destinationTuning(without: readonly LevelName[] | undefined): LaneTuning {
  const isMarked = isOn('priority', without)
  return {
    demand: { congestion: DEMAND_CONGESTION, ...(isMarked ? DEMAND_MARKS : {}) },
    prefault: isMarked ? BULK_MARKS : {},
  }
}

/**
 * Of a source. Nothing bounds what stands unsent in its sockets: TCP_NOTSENT_LOWAT of one quantum showed nothing, and a
 * small SO_SNDBUF, which holds what is under way too, would bound the rate on a long road.
 */
export function sourceTuning(
  without: readonly LevelName[] | undefined,
  paceBytesPerSecond: number | undefined,
): LaneTuning {
  const { demand, prefault } = destinationTuning(without)
  if (paceBytesPerSecond === undefined) return { demand, prefault }
  return { demand, prefault: { ...prefault, pacingBytesPerSecond: paceBytesPerSecond } }
}
