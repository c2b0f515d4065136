/**
 * What a queue pair remembers as a responder: the sequence number it expects, the answers that wait to be sent,
 * the payloads that wait to be stored, and the READs and atomics it could have to repeat. All preallocated.
 */
import { powerOfTwo } from './posting-queue.ts'
import type { QueuePair } from './queue-pair.ts'
import type { Registration } from './registration.ts'

/** An answer on its way: to which request of which queue pair, and what it says. */
export interface Answer {
  requester: QueuePair | null
  requesterEpoch: number
  position: number
  kind: number
  detail: number
  /** The requester must not see it earlier: the payload is not in memory yet. */
  notBeforePs: number
}

/** A payload that has been accepted and will be in memory at its event. */
export interface Placement {
  requester: QueuePair | null
  position: number
  target: Registration | null
  targetOffset: number
  length: number
  /** Completes a receive (SEND, WRITE with immediate). */
  isReceive: boolean
  receiveId: number
  receivePosition: number
  arrivedPs: number
}

/** A READ or atomic that may be asked for again. */
export interface RdAtomicResource {
  psn: number
  isAtomic: boolean
  /** An atomic's result, valid once it has been executed. */
  low: number
  high: number
}

export class ResponderState {
  expectedPsn = 0
  /** A gap has been reported and its request has not come again. */
  isNakSent = false
  /** When the responder may serve the next READ or atomic, and when the payload stored last is in memory. */
  serviceFreePs = 0
  placeFreePs = 0
  lastAnswerPs = 0
  readonly answers: Answer[]
  answersSent = 0
  answersQueued = 0
  /** Answers before this one are not sent any more: the queue pair was reset, or put into error by its owner. */
  answersVoid = 0
  readonly placements: Placement[]
  placementsDone = 0
  placementsQueued = 0
  resources: RdAtomicResource[] = []
  resourcesTaken = 0
  /** Receives taken from the queue. */
  receivesTaken = 0

  constructor(maxSendWr: number, maxRecvWr: number) {
    // A peer may have all its requests under way, and each once more after a retry.
    const length = powerOfTwo(4 * Math.max(64, maxSendWr, maxRecvWr))
    this.answers = Array.from({ length }, () => ({
      requester: null,
      requesterEpoch: 0,
      position: 0,
      kind: 0,
      detail: 0,
      notBeforePs: 0,
    }))
    this.placements = Array.from({ length }, () => ({
      requester: null,
      position: 0,
      target: null,
      targetOffset: 0,
      length: 0,
      isReceive: false,
      receiveId: 0,
      receivePosition: 0,
      arrivedPs: 0,
    }))
  }

  /** A new last entry, to be filled; null when a storm of retries has taken all. */
  addAnswer(): Answer | null {
    if (this.answersQueued - this.answersSent === this.answers.length) return null
    return this.answers[this.answersQueued++ & (this.answers.length - 1)]!
  }

  voidAnswers(): void {
    this.answersVoid = this.answersQueued
  }

  /** The oldest entry has been voided. */
  get isAnswerVoid(): boolean {
    return this.answersSent < this.answersVoid
  }

  /** The oldest entry. Answers leave in the order in which they were added. */
  takeAnswer(): Answer {
    return this.answers[this.answersSent++ & (this.answers.length - 1)]!
  }

  /** The entry behind the last, to be filled and counted; null when a storm of retries has taken all. */
  freePlacement(): Placement | null {
    if (this.placementsQueued - this.placementsDone === this.placements.length) return null
    return this.placements[this.placementsQueued & (this.placements.length - 1)]!
  }

  placement(number: number): Placement {
    return this.placements[number & (this.placements.length - 1)]!
  }

  setResources(count: number): void {
    this.resources = Array.from({ length: count }, () => ({ psn: -1, isAtomic: false, low: 0, high: 0 }))
    this.resourcesTaken = 0
  }

  takeResource(psn: number, isAtomic: boolean): RdAtomicResource {
    const resource = this.resources[this.resourcesTaken++ % this.resources.length]!
    resource.psn = psn
    resource.isAtomic = isAtomic
    return resource
  }

  findResource(psn: number): RdAtomicResource | null {
    for (let i = 0; i < this.resources.length; i++) {
      if (this.resources[i]!.psn === psn) return this.resources[i]!
    }
    return null
  }

  reset(): void {
    this.voidAnswers()
    this.isNakSent = false
    this.serviceFreePs = 0
    this.placeFreePs = 0
    this.receivesTaken = 0
    for (let i = 0; i < this.resources.length; i++) this.resources[i]!.psn = -1
  }
}
