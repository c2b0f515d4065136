/** Brings two queue pairs from RESET to RTS, connected to each other: what librdmacm does for its callers. */
import { assert } from '../../errors.ts'
import type { QpAttributes } from './qp-attributes.ts'
import type { QueuePair } from './queue-pair.ts'
import { ACCESS, QP_ATTR, QP_STATE, VERBS_OK } from './verbs.ts'

export interface ConnectOptions {
  readonly sl?: number
  readonly pathMtu?: number
  readonly maxRdAtomic?: number
  /** Default: as maxRdAtomic. */
  readonly maxDestRdAtomic?: number
  readonly accessFlags?: number
  /** 4.096 µs × 2^timeout without an answer, then a retry. */
  readonly timeout?: number
  readonly retryCount?: number
  readonly rnrRetry?: number
  readonly minRnrTimer?: number
}

const A = QP_ATTR
export const INIT_MASK = A.STATE | A.PKEY_INDEX | A.PORT | A.ACCESS_FLAGS
export const RTR_MASK =
  A.STATE | A.AV | A.PATH_MTU | A.DEST_QPN | A.RQ_PSN | A.MAX_DEST_RD_ATOMIC | A.MIN_RNR_TIMER
export const RTS_MASK = A.STATE | A.SQ_PSN | A.MAX_QP_RD_ATOMIC | A.RETRY_CNT | A.RNR_RETRY | A.TIMEOUT

const ALL_REMOTE = ACCESS.REMOTE_WRITE | ACCESS.REMOTE_READ | ACCESS.REMOTE_ATOMIC
/** perftest's defaults: timeout 14 (67 ms), 7 retries, RNR retried for ever. */
const DEFAULTS = { sl: 0, maxRdAtomic: 16, timeout: 14, retryCount: 7, rnrRetry: 7, minRnrTimer: 12 }

export function connectQueuePairs(a: QueuePair, b: QueuePair, options: ConnectOptions = {}): void {
  for (const [qp, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    const o = { ...DEFAULTS, pathMtu: qp.device.model.mtu, accessFlags: ALL_REMOTE, ...options }
    const attributes: QpAttributes = {
      ...o,
      pkeyIndex: 0,
      port: 1,
      av: { device: peer.device.number, sl: o.sl },
      destQpn: peer.number,
      maxDestRdAtomic: o.maxDestRdAtomic ?? o.maxRdAtomic,
      // Each end counts from a number of its own, so that mixing them up would be seen.
      rqPsn: peer.number * 1000,
      sqPsn: qp.number * 1000,
    }
    const steps = [
      [QP_STATE.INIT, INIT_MASK],
      [QP_STATE.RTR, RTR_MASK],
      [QP_STATE.RTS, RTS_MASK],
    ] as const
    for (const [state, mask] of steps) {
      const errno = qp.device.modifyQp(qp, { ...attributes, state }, mask)
      assert(errno === VERBS_OK, `queue pair ${qp.number} cannot go to state ${state}: errno ${errno}`)
    }
  }
}
