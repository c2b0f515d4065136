/**
 * How LazyMemory lies in shared memory: plain data that passes through workerData, so that readers, the demand
 * agent and every placing thread build their own end of it.
 *
 * `here` is to LazyMemory what the processor's page tables are to a userfaultfd client: it says which pages can be
 * read now. It is apart from the lanes' page table, which says who has asked for what. Its bytes are written by
 * placers after the page's content, and read by readers before it.
 */
import { FaultlaneError } from '../errors.ts'
import { LINE_WORDS, type RingMemory } from '../ring/layout.ts'
import { allocateMpscRing } from '../ring/mpsc-ring.ts'

export const HERE = {
  NO: 0,
  YES: 1,
  /** The page cannot be had: its readers fail, and the next one asks again. */
  LOST: 2,
} as const

/** Readers of a page sleep on the word that its number selects: few enough to wake all, enough to wake few in vain. */
export const WAIT_WORDS = 64

/** Words of `waiting`: how many readers sleep, how many are asking, whether the memory is closed, the sleepers' words. */
export const SLEEPERS = 0
export const ASKERS = LINE_WORDS
export const CLOSED = 2 * LINE_WORDS
export const WAIT = 3 * LINE_WORDS

/** Faults that may wait for the demand agent. Each reader keeps at most FAULTS_AHEAD_MAX of them there. */
const FAULT_RING_CAPACITY = 1024

export interface LazyDescription {
  readonly bytes: number
  readonly pageSize: number
  readonly content: SharedArrayBuffer
  readonly here: SharedArrayBuffer
  readonly waiting: SharedArrayBuffer
  /** One word a record: the page. */
  readonly faults: RingMemory
}

/** Makes the memory: `bytes` of address space, of which the system only takes what is placed. */
export function allocateLazyMemory(bytes: number, pageSize = 4096): LazyDescription {
  if (!Number.isInteger(bytes) || bytes <= 0 || bytes % pageSize !== 0) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'size of the lazy memory',
      got: `${bytes} bytes`,
      expected: `a positive multiple of the page size ${pageSize}`,
    })
  }
  return {
    bytes,
    pageSize,
    content: new SharedArrayBuffer(bytes),
    here: new SharedArrayBuffer(bytes / pageSize),
    waiting: new SharedArrayBuffer(4 * (WAIT + WAIT_WORDS)),
    faults: allocateMpscRing(FAULT_RING_CAPACITY, 1),
  }
}
