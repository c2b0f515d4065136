/** What each lane's connection asks of the kernel, at both ends. */
import type { SocketTuning } from '../../native/socket.ts'

/**
 * Priority 6 (interactive) and DSCP EF: the first band of pfifo_fast and the priority queue of a switch. Reno,
 * because BBR paces: it takes a lane that asks for one page at a time for a slow road and spreads each reply over it.
 */
export const DEMAND_TUNING: SocketTuning = { priority: 6, tos: 0xb8, congestion: 'reno' }

/** Priority 2 (bulk) and DSCP CS1 (scavenger). */
export const PREFAULT_TUNING: SocketTuning = { priority: 2, tos: 0x20 }
