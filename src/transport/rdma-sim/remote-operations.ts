/** What the opcodes mean at the responder: the right they need, and what an atomic does. */

import type { Registration } from './registration.ts'
import type { RdAtomicResource } from './responder-state.ts'
import type { SendSlots } from './send-slots.ts'
import { ACCESS, WR_OPCODE } from './verbs.ts'
import { isAtomic, SEND } from './work-request.ts'

export function accessFor(opcode: number): number {
  if (opcode === WR_OPCODE.RDMA_WRITE || opcode === WR_OPCODE.RDMA_WRITE_WITH_IMM) return ACCESS.REMOTE_WRITE
  if (opcode === WR_OPCODE.RDMA_READ) return ACCESS.REMOTE_READ
  return isAtomic(opcode) ? ACCESS.REMOTE_ATOMIC : 0
}

/** Fetch-and-add or compare-and-swap of 8 little-endian bytes; what it found goes to the slot and the resource. */
export function carryOutAtomic(
  slots: SendSlots,
  position: number,
  memory: Registration,
  resource: RdAtomicResource,
): void {
  const slot = slots.slot(position)
  const offset = slots.sourceOffset[slot]!
  const before = memory.view.getBigUint64(offset, true)
  const operand = wideBig(slots, position, SEND.COMPARE)
  if (slots.opcode(position) === WR_OPCODE.ATOMIC_FETCH_AND_ADD)
    memory.view.setBigUint64(offset, BigInt.asUintN(64, before + operand), true)
  else if (before === operand) memory.view.setBigUint64(offset, wideBig(slots, position, SEND.SWAP), true)
  resource.low = Number(BigInt.asIntN(32, before))
  resource.high = Number(BigInt.asIntN(32, before >> 32n))
  slots.original[2 * slot] = resource.low
  slots.original[2 * slot + 1] = resource.high
}

function wideBig(slots: SendSlots, position: number, field: number): bigint {
  const high = BigInt(slots.word(position, field + 1) >>> 0)
  return (high << 32n) | BigInt(slots.word(position, field) >>> 0)
}
