/**
 * Work requests and completions as records of rings in shared memory: the layout, and the mutable objects that
 * carry them in and out. A caller makes one object of each and uses it again, so posting and polling allocate
 * nothing (only the operands of atomics are BigInts).
 */
import { SEND_FLAG, WR_OPCODE } from './verbs.ts'

/**
 * Words of a send record. What most requests need lies in its first cache line; word 15 is the ring's. Atomics and
 * inlined bytes share what is behind it: no request has both.
 */
export const SEND = {
  OPCODE: 0,
  FLAGS: 1,
  ID: 2, //       Every 64-bit value takes two words, the low one first.
  ADDRESS: 4,
  LENGTH: 6,
  KEY: 7,
  REMOTE: 8,
  REMOTE_KEY: 10,
  IMMEDIATE: 11,
  COMPARE: 12, // Also what fetch-and-add adds; its first word is the access of a window to bind.
  SWAP: 16,
  INLINE: 16,
} as const
/** Inlined bytes that a record takes: the largest that the queue pairs allow. */
export const INLINE_CAPACITY = 256
export const SEND_WORDS = SEND.INLINE + INLINE_CAPACITY / 4

/** Words of a receive record, one cache line. */
export const RECV = { ID: 0, ADDRESS: 2, LENGTH: 4, KEY: 5 } as const
export const RECV_WORDS = 16

/** Words of a completion record, one cache line. */
export const DONE = {
  ID: 0,
  STATUS: 2,
  OPCODE: 3,
  BYTES: 4,
  IMMEDIATE: 5,
  QP_NUMBER: 6,
  /** Position of the request in its queue: it and all before it have given their slots back. */
  POSITION: 7,
  IS_RECEIVE: 8,
  /** Modelled time from doorbell to completion, receives from arrival, in ns; longer than 2^31 is cut. */
  NIC_NS: 9,
} as const
export const DONE_WORDS = 16

const TWO_32 = 2 ** 32

export function isAtomic(opcode: number): boolean {
  return opcode === WR_OPCODE.ATOMIC_CMP_AND_SWP || opcode === WR_OPCODE.ATOMIC_FETCH_AND_ADD
}

/** How many words of a send record the poster has written. */
export function requestWords(words: Int32Array, at: number): number {
  if ((words[at + SEND.FLAGS]! & SEND_FLAG.INLINE) !== 0) {
    const inlineBytes = Math.min(words[at + SEND.LENGTH]! >>> 0, INLINE_CAPACITY)
    return SEND.INLINE + ((inlineBytes + 3) >> 2)
  }
  return isAtomic(words[at + SEND.OPCODE]!) ? SEND.SWAP + 2 : SEND.COMPARE + 1
}

/** Stores an integer from 0 to 2^53. */
export function storeWide(words: Int32Array, at: number, value: number): void {
  words[at] = value >>> 0
  words[at + 1] = Math.floor(value / TWO_32)
}

export function loadWide(words: Int32Array, at: number): number {
  return (words[at + 1]! >>> 0) * TWO_32 + (words[at]! >>> 0)
}

/** One request for the send queue, in the terms of ibv_send_wr with one scatter-gather entry. */
export class SendRequest {
  id = 0
  opcode = 0
  flags = 0
  address = 0
  length = 0
  lkey = 0
  remoteAddress = 0
  rkey = 0
  immediate = 0
  /** compare-and-swap: expected and new value; fetch-and-add: `compareAdd` is added. */
  compareAdd = 0n
  swap = 0n
  /** With SEND_FLAG.INLINE: the payload, copied when posted. */
  inlineBytes: Uint8Array | null = null
  /** BIND_MW: access of the window; `rkey` its new key, `lkey`, `address`, `length` the memory it opens. */
  windowAccess = 0

  write(words: Int32Array, at: number): void {
    words[at + SEND.OPCODE] = this.opcode
    words[at + SEND.FLAGS] = this.flags
    storeWide(words, at + SEND.ID, this.id)
    storeWide(words, at + SEND.ADDRESS, this.address)
    words[at + SEND.LENGTH] = this.inlineBytes === null ? this.length : this.inlineBytes.length
    words[at + SEND.KEY] = this.lkey
    storeWide(words, at + SEND.REMOTE, this.remoteAddress)
    words[at + SEND.REMOTE_KEY] = this.rkey
    words[at + SEND.IMMEDIATE] = this.immediate
    if (isAtomic(this.opcode)) {
      storeBig(words, at + SEND.COMPARE, this.compareAdd)
      storeBig(words, at + SEND.SWAP, this.swap)
    } else if (this.opcode === WR_OPCODE.BIND_MW) words[at + SEND.COMPARE] = this.windowAccess
    const bytes = this.inlineBytes
    if (bytes === null) return
    for (let i = 0; i < bytes.length; i += 4) {
      words[at + SEND.INLINE + (i >> 2)] =
        bytes[i]! | ((bytes[i + 1] ?? 0) << 8) | ((bytes[i + 2] ?? 0) << 16) | ((bytes[i + 3] ?? 0) << 24)
    }
  }
}

function storeBig(words: Int32Array, at: number, value: bigint): void {
  words[at] = Number(BigInt.asIntN(32, value))
  words[at + 1] = Number(BigInt.asIntN(32, value >> 32n))
}

/** One request for the receive queue: where the next SEND goes. */
export class ReceiveRequest {
  id = 0
  address = 0
  length = 0
  lkey = 0

  write(words: Int32Array, at: number): void {
    storeWide(words, at + RECV.ID, this.id)
    storeWide(words, at + RECV.ADDRESS, this.address)
    words[at + RECV.LENGTH] = this.length
    words[at + RECV.KEY] = this.lkey
  }
}

/** A completion, in the terms of ibv_wc. After an error only id, status and qpNumber are valid. */
export class WorkCompletion {
  id = 0
  status = 0
  opcode = 0
  byteLength = 0
  immediate = 0
  qpNumber = 0
  /** Modelled time of the operation, ns: what is not the host's. */
  nicNs = 0

  read(words: Int32Array, at: number): void {
    this.id = loadWide(words, at + DONE.ID)
    this.status = words[at + DONE.STATUS]!
    this.opcode = words[at + DONE.OPCODE]!
    this.byteLength = words[at + DONE.BYTES]! >>> 0
    this.immediate = words[at + DONE.IMMEDIATE]! >>> 0
    this.qpNumber = words[at + DONE.QP_NUMBER]!
    this.nicNs = words[at + DONE.NIC_NS]!
  }
}
