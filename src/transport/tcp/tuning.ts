/** What each lane's connection asks of the kernel, at both ends. */
import type { SocketTuning } from '../../native/socket.ts'

/** Priority 6 (interactive) and DSCP EF: the first band of pfifo_fast and the priority queue of a switch. */
export const DEMAND_TUNING: SocketTuning = { priority: 6, tos: 0xb8 }

/** Priority 2 (bulk) and DSCP CS1 (scavenger). */
export const PREFAULT_TUNING: SocketTuning = { priority: 2, tos: 0x20 }
