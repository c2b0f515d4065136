/** What each worker is started with, and what it tells: plain data, because it crosses a thread. */
import type { Failure } from '../errors.ts'
import type { LazyDescription } from '../fault/lazy-layout.ts'
import type { ToucherPlan, ToucherResult } from '../fault/toucher.ts'
import type { AgentEvent } from '../lane/agent-event.ts'
import type { BoardMemory } from '../lane/board.ts'
import type { LossPolicy } from '../lane/client-session.ts'
import type { NeighboursMemory } from '../lane/neighbours.ts'
import type { LevelName } from '../levels.ts'
import type { ImageDescription } from '../memory/image.ts'
import type { SchedulingName } from '../prefault/schedulings.ts'
import type { Affinity } from './affinity.ts'
import type { LazyShare } from './lazy-join.ts'
import type { WaitMode } from './wait.ts'

/** One client slot of a daemon: what its workers share that is known from the start. */
export interface AttachSettings {
  readonly socketPath: string
  readonly sourceUrl: string
  /** File URL of a third party's transport. */
  readonly transportModule: string | undefined
  readonly pageBytes: number
  readonly wait: WaitMode
  readonly affinity: Affinity
  readonly scheduling: SchedulingName
  /** Levels that are switched off. */
  readonly without: readonly LevelName[]
  readonly prefault: 'off' | 'sequential'
  readonly onLoss: LossPolicy
  readonly keep: boolean
  readonly board: BoardMemory
  readonly demandCounters: Int32Array<SharedArrayBuffer>
  readonly prefaultCounters: Int32Array<SharedArrayBuffer>
  readonly stalls: Int32Array<SharedArrayBuffer>
  readonly promotedWaits: Int32Array<SharedArrayBuffer>
  /** What the prefault agent hands to a second thread that places; undefined: there is none. */
  readonly errand: Int32Array<SharedArrayBuffer> | undefined
  /** What the workers' rehearsals share. */
  readonly rehearsals: Int32Array<SharedArrayBuffer>
  /** Where it is one of several in its process; undefined: it is alone. */
  readonly neighbours: NeighbourPlace | undefined
}

/** A handler's place among those of its process. */
export interface NeighbourPlace {
  readonly memory: NeighboursMemory
  readonly place: number
}

/** What is known later: the image, and the states of its pages. The demand worker is posted the settings and then this. */
export interface AttachImage {
  readonly pageCount: number
  readonly imageId: string
  readonly dataExtents: Uint32Array | null
  readonly table: SharedArrayBuffer
  /** eventfds of the two doorbells. */
  readonly demandBellFd: number
  readonly prefaultBellFd: number
}

export type AttachPlan = AttachSettings & AttachImage

/** One LazyMemory: the same lanes for readers of this process. */
export interface LazyPlan
  extends Omit<AttachPlan, 'socketPath' | 'keep' | 'onLoss' | 'affinity' | 'rehearsals' | 'neighbours'> {
  readonly lazy: LazyDescription
}

export interface ServePlan {
  readonly url: string
  readonly image: ImageDescription
  readonly wait: WaitMode
  readonly affinity: Affinity
  /** Levels that are switched off. */
  readonly without: readonly LevelName[]
  /** Bytes a second of each destination's bulk, at most. */
  readonly pace: number | undefined
  readonly link: string | undefined
  readonly linkLateness: Int32Array<SharedArrayBuffer>
  readonly linkQueueing: Int32Array<SharedArrayBuffer>
  readonly bell: Int32Array<SharedArrayBuffer>
  readonly bellFd: number
}

/** One touching thread, and what it shares with the others while it rehearses. */
export interface ToucherStart {
  readonly plan: ToucherPlan
  readonly rehearsals: Int32Array<SharedArrayBuffer>
}

/** One vCPU of a measured client: a thread that loads from memory which is not there yet, and times each first load. */
export interface VcpuPlan {
  /** Which of `vcpuCount` it is: it touches every vcpuCount-th page of the order. */
  readonly index: number
  readonly vcpuCount: number
  /** Where memory for a client is reserved: viewed before anything is compiled, and missing once it has been handed over. */
  readonly address: number
  readonly pageCount: number
  /** Pages in the order of their touches. */
  readonly order: Int32Array<SharedArrayBuffer>
  /** Duration of each touch, by its place in the order. */
  readonly touchNs: Float64Array<SharedArrayBuffer>
  /** What a vCPU does between two touches, nanoseconds of its own time. */
  readonly thinkNs: number
  readonly control: Int32Array<SharedArrayBuffer>
}

/** Posted to a vCPU that is ready: what memory to touch, that of its plan or a LazyMemory, or that there will be none. */
export type VcpuStart =
  | { readonly kind: 'mapped' }
  | { readonly kind: 'lazy'; readonly share: LazyShare }
  | { readonly kind: 'none' }

export type WorkerMessage =
  | { readonly kind: 'ready'; readonly url?: string }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'refused-peer'; readonly reason: string }
  | { readonly kind: 'agent'; readonly event: AgentEvent }
  | { readonly kind: 'touched'; readonly elapsedMs: number }
  | { readonly kind: 'toucher-done'; readonly result: ToucherResult }
  | { readonly kind: 'stopped' }
