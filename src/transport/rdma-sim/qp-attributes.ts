/**
 * Which changes of a queue pair's state are allowed, and which attributes each needs and accepts: ibv_modify_qp(3)
 * for reliable connections. Pure; a change that is refused here has changed nothing.
 */
import { ACCESS, PSN_MASK, QP_ATTR, QP_STATE } from './verbs.ts'

/** Where requests go: the device's number in the fabric, and the service level. */
export interface AddressVector {
  readonly device: number
  readonly sl: number
}

export interface QpAttributes {
  readonly state?: number
  readonly curState?: number
  readonly isSqdNotified?: boolean
  readonly accessFlags?: number
  readonly pkeyIndex?: number
  readonly port?: number
  readonly av?: AddressVector
  /** Bytes: 256, 512, 1024, 2048 or 4096. */
  readonly pathMtu?: number
  readonly timeout?: number
  readonly retryCount?: number
  readonly rnrRetry?: number
  readonly rqPsn?: number
  readonly maxRdAtomic?: number
  readonly minRnrTimer?: number
  readonly sqPsn?: number
  readonly maxDestRdAtomic?: number
  readonly destQpn?: number
}

const A = QP_ATTR
const S = QP_STATE
const key = (from: number, to: number): number => from * 8 + to
const DRAINED_ANY =
  A.PORT | A.AV | A.TIMEOUT | A.RETRY_CNT | A.RNR_RETRY | A.MAX_QP_RD_ATOMIC | A.MAX_DEST_RD_ATOMIC |
  A.CUR_STATE | A.ACCESS_FLAGS | A.PKEY_INDEX | A.MIN_RNR_TIMER // biome-ignore format: two lines read best

/** [required, optional], STATE apart. Any state may go to RESET and ERR with STATE alone. */
const TRANSITIONS = new Map<number, readonly [number, number]>([
  [key(S.RESET, S.INIT), [A.PKEY_INDEX | A.PORT | A.ACCESS_FLAGS, 0]],
  [key(S.INIT, S.INIT), [0, A.PKEY_INDEX | A.PORT | A.ACCESS_FLAGS]],
  [
    key(S.INIT, S.RTR),
    [
      A.AV | A.PATH_MTU | A.DEST_QPN | A.RQ_PSN | A.MAX_DEST_RD_ATOMIC | A.MIN_RNR_TIMER,
      A.PKEY_INDEX | A.ACCESS_FLAGS,
    ],
  ],
  [
    key(S.RTR, S.RTS),
    [
      A.SQ_PSN | A.MAX_QP_RD_ATOMIC | A.RETRY_CNT | A.RNR_RETRY | A.TIMEOUT,
      A.CUR_STATE | A.ACCESS_FLAGS | A.MIN_RNR_TIMER,
    ],
  ],
  [key(S.RTS, S.RTS), [0, A.CUR_STATE | A.ACCESS_FLAGS | A.MIN_RNR_TIMER]],
  [key(S.RTS, S.SQD), [0, A.EN_SQD_ASYNC_NOTIFY]],
  [key(S.SQD, S.RTS), [0, A.CUR_STATE | A.ACCESS_FLAGS | A.MIN_RNR_TIMER]],
  [key(S.SQD, S.SQD), [0, DRAINED_ANY]],
])

const ACCESS_MAX =
  ACCESS.LOCAL_WRITE | ACCESS.REMOTE_WRITE | ACCESS.REMOTE_READ | ACCESS.REMOTE_ATOMIC | ACCESS.MW_BIND

/** The new state, or -1 when the change is illegal, the mask wrong, or a named attribute missing or out of range. */
export function nextState(from: number, attributes: QpAttributes, mask: number, rdAtomicMax: number): number {
  const to = (mask & A.STATE) === 0 ? from : (attributes.state ?? -1)
  if ((mask & A.CUR_STATE) !== 0 && attributes.curState !== from) return -1
  if (to === S.RESET || to === S.ERR) return mask === A.STATE ? to : -1
  const masks = TRANSITIONS.get(key(from, to))
  if (masks === undefined) return -1
  const [required, optional] = masks
  const given = mask & ~A.STATE
  if ((given & required) !== required || (given & ~(required | optional)) !== 0) return -1
  return areValid(attributes, mask, rdAtomicMax) ? to : -1
}

function areValid(a: QpAttributes, mask: number, rdAtomicMax: number): boolean {
  const isFine = (bit: number, value: number | undefined, max: number): boolean =>
    (mask & bit) === 0 || (Number.isInteger(value) && value! >= 0 && value! <= max)
  return (
    isFine(A.ACCESS_FLAGS, a.accessFlags, ACCESS_MAX) &&
    isFine(A.PKEY_INDEX, a.pkeyIndex, 0) &&
    isFine(A.PORT, a.port, 1) &&
    isFine(A.AV, a.av?.sl, 15) &&
    isFine(A.AV, a.av?.device, 2 ** 16) &&
    isFine(A.TIMEOUT, a.timeout, 31) &&
    isFine(A.RETRY_CNT, a.retryCount, 7) &&
    isFine(A.RNR_RETRY, a.rnrRetry, 7) &&
    isFine(A.RQ_PSN, a.rqPsn, PSN_MASK) &&
    isFine(A.SQ_PSN, a.sqPsn, PSN_MASK) &&
    isFine(A.MAX_QP_RD_ATOMIC, a.maxRdAtomic, rdAtomicMax) &&
    isFine(A.MAX_DEST_RD_ATOMIC, a.maxDestRdAtomic, rdAtomicMax) &&
    isFine(A.MIN_RNR_TIMER, a.minRnrTimer, 31) &&
    isFine(A.DEST_QPN, a.destQpn, 0xffffff) &&
    ((mask & A.PATH_MTU) === 0 || [256, 512, 1024, 2048, 4096].includes(a.pathMtu ?? 0)) &&
    ((mask & A.PORT) === 0 || a.port === 1)
  )
}
