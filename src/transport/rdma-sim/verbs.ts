/** The numbers of <infiniband/verbs.h>, under the names that the standard gives them. Nothing here is ours to choose. */

export const WC_STATUS = {
  SUCCESS: 0,
  LOC_LEN_ERR: 1,
  LOC_QP_OP_ERR: 2,
  LOC_EEC_OP_ERR: 3,
  LOC_PROT_ERR: 4,
  WR_FLUSH_ERR: 5,
  MW_BIND_ERR: 6,
  BAD_RESP_ERR: 7,
  LOC_ACCESS_ERR: 8,
  REM_INV_REQ_ERR: 9,
  REM_ACCESS_ERR: 10,
  REM_OP_ERR: 11,
  RETRY_EXC_ERR: 12,
  RNR_RETRY_EXC_ERR: 13,
} as const

export const WR_OPCODE = {
  RDMA_WRITE: 0,
  RDMA_WRITE_WITH_IMM: 1,
  SEND: 2,
  SEND_WITH_IMM: 3,
  RDMA_READ: 4,
  ATOMIC_CMP_AND_SWP: 5,
  ATOMIC_FETCH_AND_ADD: 6,
  LOCAL_INV: 7,
  BIND_MW: 8,
} as const

export const WC_OPCODE = {
  SEND: 0,
  RDMA_WRITE: 1,
  RDMA_READ: 2,
  COMP_SWAP: 3,
  FETCH_ADD: 4,
  BIND_MW: 5,
  LOCAL_INV: 6,
  RECV: 128,
  RECV_RDMA_WITH_IMM: 129,
} as const

export const SEND_FLAG = { FENCE: 1, SIGNALED: 2, SOLICITED: 4, INLINE: 8 } as const

export const ACCESS = {
  LOCAL_WRITE: 1,
  REMOTE_WRITE: 2,
  REMOTE_READ: 4,
  REMOTE_ATOMIC: 8,
  MW_BIND: 16,
} as const

export const QP_STATE = { RESET: 0, INIT: 1, RTR: 2, RTS: 3, SQD: 4, SQE: 5, ERR: 6 } as const

export const QP_ATTR = {
  STATE: 1 << 0,
  CUR_STATE: 1 << 1,
  EN_SQD_ASYNC_NOTIFY: 1 << 2,
  ACCESS_FLAGS: 1 << 3,
  PKEY_INDEX: 1 << 4,
  PORT: 1 << 5,
  AV: 1 << 7,
  PATH_MTU: 1 << 8,
  TIMEOUT: 1 << 9,
  RETRY_CNT: 1 << 10,
  RNR_RETRY: 1 << 11,
  RQ_PSN: 1 << 12,
  MAX_QP_RD_ATOMIC: 1 << 13,
  MIN_RNR_TIMER: 1 << 15,
  SQ_PSN: 1 << 16,
  MAX_DEST_RD_ATOMIC: 1 << 17,
  DEST_QPN: 1 << 20,
} as const

export const ASYNC_EVENT = {
  CQ_ERR: 0,
  QP_FATAL: 1,
  QP_REQ_ERR: 2,
  QP_ACCESS_ERR: 3,
  COMM_EST: 4,
  SQ_DRAINED: 5,
} as const

/** What the verbs return, errno values; 0 is success. */
export const VERBS_OK = 0
export const ENOMEM = 12
export const EINVAL = 22

/** Packet sequence numbers have 24 bits; the sign of a difference is found modulo 2^24. */
export const PSN_MASK = 0xffffff
export function psnDifference(a: number, b: number): number {
  return ((a - b) << 8) >> 8
}

/** How long a receiver asks a sender to wait, by its min_rnr_timer code, in units of 10 µs. */
const RNR_TIMER_10US = [
  65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072,
  4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
]
export function rnrTimerPs(code: number): number {
  return RNR_TIMER_10US[code & 31]! * 10_000_000
}

/** 4.096 µs × 2^timeout; 0 means that no answer is waited for without limit. */
export function ackTimeoutPs(timeout: number): number {
  return timeout === 0 ? Infinity : 4_096_000 * 2 ** timeout
}
