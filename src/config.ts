/** Every bound the product lives by, named, with where its number comes from. */

/**
 * Bytes of bulk the source hands to the kernel before it looks at the demand connections again. On loopback the
 * kernel moves about 3 GB/s, so 32 KiB hold a demand reply up for 10 µs. With 64 KiB a busy client's p99 was 125 µs there
 * instead of 100 (medians of 8 sessions, 2 × AMD EPYC).
 */
export const BULK_QUANTUM_BYTES = 32 * 1024

/**
 * The same after QUIET_AFTER_TURNS turns without demand, so 90 µs before the first fault after a quiet time. Undisturbed
 * prefault over loopback brings 1350 MB/s with it, with 128 KiB 1240, with 64 KiB 1157, and 1380 with 512 (medians of 10
 * sessions of 256 MiB, alternating, 2 × AMD EPYC).
 */
export const QUIET_QUANTUM_BYTES = 256 * 1024
/** Some 20 ms, in turns that send a quantum each. */
export const QUIET_AFTER_TURNS = 1000

/** Turns of what is not on the demand road, nor prefault: main threads, the engine's helpers. As long as prefault's. */
export const HELPER_SLICE_NS = 20e6

/** Pages of one prefault read at most, while demand is active: one quantum of 4 KiB pages. */
export const PREFAULT_READ_PAGES_MAX = 8

/**
 * The same while no demand is active, where transport and road are fast enough for such reads: the fewer turns for as
 * many pages, the less of a cold start is spent in the interpreter. One thread places them in 400 µs, two in 250.
 */
export const QUIET_READ_PAGES_MAX = 256

/** Pages of one read of the schedulings that we are compared with, demand or not: 64 KiB. */
export const PEER_READ_PAGES_MAX = 16

/** Reads in flight on a demand channel: as many faulting threads as a large VM has vCPUs. */
export const DEMAND_CREDITS = 256

/** Reads in flight on a prefault channel; the window bounds the bytes, this bounds the table. */
export const PREFAULT_CREDITS = 512

/** Requests of one destination that the source takes in one turn, so that a heavy one cannot starve a light one. */
export const REQUESTS_PER_TURN_MAX = 16

/**
 * The same while several destinations ask: a reply takes 10 µs of the source. A light client beside one with 32 faulting threads,
 * with CROWD_SLICE_NS: p99 0.55 ms with 2, 0.71 with 4, 0.93 without either, the heavy one's faults 9, 9 and 0 % fewer (medians of 6 to 8
 * alternating runs, 2 × AMD EPYC).
 */
export const DEMAND_SHARE_READS = 2

/** A parked thread cannot be terminated, so no park is longer. */
export const PARK_MS_MAX = 100

/** Opening a connection, handshake included. */
export const CONNECT_TIMEOUT_MS = 5000

/** Turns of the threads on the demand road, the shortest the kernel takes: each does some 20 µs of work at a time. */
export const DEMAND_SLICE_NS = 100_000

/**
 * Turns of a demand agent of several in one process whose client has a crowd standing still: it gives way to those that answer one
 * fault now and then. With 3 ms the crowd had a tenth fewer faults, and the others gained nothing.
 */
export const CROWD_SLICE_NS = 1e6

/**
 * Niceness of the prefault thread: two thirds of the weight of a demand thread or a vCPU. Two vCPUs that touch all pages in address
 * order with 20 µs in between stood still for 0.22 s in all with it, with 5 for 0.92 s; random ones for 1.67 s and 1.70, their p99 the
 * same (4 and 5 alternating runs, loopback, 2 × AMD EPYC). At 10 it starved.
 */
export const PREFAULT_NICE = 2

/** Its turns: who asks for much is served late, and gives way to whoever wakes. */
export const PREFAULT_SLICE_NS = 20e6
