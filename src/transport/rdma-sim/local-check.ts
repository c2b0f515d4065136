/**
 * What a NIC checks of a request before it sends anything, and the requests that it carries out by itself.
 * Returns a status; a failure here has touched neither the wire nor the other end.
 */
import type { QueuePair } from './queue-pair.ts'
import { ACCESS, SEND_FLAG, WC_STATUS, WR_OPCODE } from './verbs.ts'
import { SEND } from './work-request.ts'

const ATOMIC_BYTES = 8

export function isLocal(opcode: number): boolean {
  return opcode === WR_OPCODE.LOCAL_INV || opcode === WR_OPCODE.BIND_MW
}

/** Of a request for the other end; opens its local memory for the transfer. */
export function checkLocally(qp: QueuePair, position: number): number {
  const slots = qp.slots
  const opcode = slots.opcode(position)
  if (opcode < 0 || opcode > WR_OPCODE.ATOMIC_FETCH_AND_ADD) return WC_STATUS.LOC_QP_OP_ERR
  const length = slots.length(position)
  if (slots.isAtomic(position) && length !== ATOMIC_BYTES) return WC_STATUS.LOC_QP_OP_ERR
  if (slots.isRead(position) && qp.maxRdAtomic === 0) return WC_STATUS.LOC_QP_OP_ERR
  const slot = slots.slot(position)
  slots.local[slot] = null
  if (length === 0 || slots.hasFlag(position, SEND_FLAG.INLINE)) return WC_STATUS.SUCCESS
  const address = slots.wide(position, SEND.ADDRESS)
  const access = slots.isRead(position) ? ACCESS.LOCAL_WRITE : 0
  const memory = qp.device.registrations.open(
    slots.word(position, SEND.KEY),
    qp.pd,
    address,
    length,
    access,
    qp.number,
  )
  if (memory === null || memory.isWindow) return WC_STATUS.LOC_PROT_ERR
  slots.local[slot] = memory
  slots.localOffset[slot] = address - memory.address
  return WC_STATUS.SUCCESS
}

/** LOCAL_INV: the window opens nothing from now on. BIND_MW: it opens a part of a registration under a new key. */
export function carryOutLocally(qp: QueuePair, position: number): number {
  const slots = qp.slots
  const table = qp.device.registrations
  const key = slots.word(position, SEND.REMOTE_KEY)
  if (slots.opcode(position) === WR_OPCODE.LOCAL_INV) {
    const window = table.find(key)
    if (window === null || !window.isWindow || window.pd !== qp.pd || window.qpNumber !== qp.number)
      return WC_STATUS.LOC_QP_OP_ERR
    window.length = 0
    window.access = 0
    window.qpNumber = 0
    return WC_STATUS.SUCCESS
  }
  const window = table.findWindow(key)
  const address = slots.wide(position, SEND.ADDRESS)
  const length = slots.length(position)
  const access = slots.word(position, SEND.COMPARE)
  const memory = table.open(slots.word(position, SEND.KEY), qp.pd, address, length, ACCESS.MW_BIND, qp.number)
  if (window === null || window.pd !== qp.pd || window.qpNumber !== 0) return WC_STATUS.MW_BIND_ERR
  if (memory === null || memory.isWindow) return WC_STATUS.MW_BIND_ERR
  const writes = ACCESS.REMOTE_WRITE | ACCESS.REMOTE_ATOMIC
  if ((access & writes) !== 0 && (memory.access & ACCESS.LOCAL_WRITE) === 0) return WC_STATUS.MW_BIND_ERR
  window.key = key
  window.bytes = memory.bytes
  window.view = memory.view
  window.address = address
  window.offset = memory.offset + (address - memory.address)
  window.length = length
  window.access = access
  window.qpNumber = qp.number
  return WC_STATUS.SUCCESS
}
