/** The receive that an incoming request has taken out of its queue: where its payload goes, and how it ends. */
import { NO_RECORD } from '../../ring/layout.ts'
import type { QueuePair } from './queue-pair.ts'
import { loadWide, RECV } from './work-request.ts'

export class TakenReceive {
  id = 0
  position = 0
  address = 0
  length = 0
  key = 0
  status = 0
  bytes = 0
  fromPs = 0

  /** Takes the oldest; false when none has been posted. */
  take(qp: QueuePair, nowPs: number): boolean {
    const ring = qp.receiver.consumer
    const at = ring.peek()
    if (at === NO_RECORD) return false
    this.id = loadWide(ring.words, at + RECV.ID)
    this.address = loadWide(ring.words, at + RECV.ADDRESS)
    this.length = ring.words[at + RECV.LENGTH]! >>> 0
    this.key = ring.words[at + RECV.KEY]!
    this.position = qp.responder.receivesTaken
    this.fromPs = nowPs
    qp.responder.receivesTaken = (qp.responder.receivesTaken + 1) | 0
    ring.release()
    return true
  }
}
