/** What the ring bench and its two workers agree on. */
import type { MessagePort } from 'node:worker_threads'
import type { RingMemory } from '../src/ring/layout.ts'

export const RECORD_WORDS = 4
/** What an agent moves in a turn. */
export const BATCH = 64

export type Way = 'ring batch' | 'ring single' | 'ringbuf record' | 'ringbuf block' | 'port' | 'hop'

export interface Job {
  readonly way: Way
  readonly count: number
}

export interface Setup {
  readonly isSender: boolean
  readonly ring: RingMemory
  /** The way back of a ping-pong. */
  readonly ringBack: RingMemory
  readonly ringbuf: SharedArrayBuffer
  readonly port: MessagePort
  /** Round trip times of a ping-pong, in ns, go here. */
  readonly roundTripsNs: Float64Array
}
