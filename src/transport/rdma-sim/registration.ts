/**
 * What remote and local keys open: memory registrations and memory windows of one device. The memory is real
 * bytes. A key is a slot and an 8-bit tag that changes with every use of the slot, so a stale key opens nothing.
 */
import { FaultlaneError } from '../../errors.ts'
import { ACCESS } from './verbs.ts'

const KEY_TAGS = 256
const ADDRESS_FIRST = 0x10000
const ADDRESS_ALIGN = 4096

/** A protection domain: a number that registrations and queue pairs share or do not. */
export interface ProtectionDomain {
  readonly number: number
}

export interface Registration {
  /** Zero while the slot is free or the window unbound or invalidated. */
  key: number
  readonly isWindow: boolean
  readonly pd: ProtectionDomain
  bytes: Uint8Array
  view: DataView
  /** Virtual address of the first byte, its offset in `bytes`, and how many bytes the key opens. */
  address: number
  offset: number
  length: number
  access: number
  /** Windows: the queue pair they are bound to. */
  qpNumber: number
}

export class RegistrationTable {
  // Slot 0 stays empty: key 0 opens nothing.
  readonly #slots: (Registration | null)[] = [null]
  readonly #tags: number[] = [0]
  #addressNext = ADDRESS_FIRST

  /** ibv_reg_mr_iova: `address` is what requests will call the first byte; by default a free range. */
  registerMemory(
    pd: ProtectionDomain,
    bytes: Uint8Array,
    access: number,
    address = this.#addressNext,
  ): Registration {
    const known =
      ACCESS.LOCAL_WRITE | ACCESS.REMOTE_WRITE | ACCESS.REMOTE_READ | ACCESS.REMOTE_ATOMIC | ACCESS.MW_BIND
    if ((access & ~known) !== 0) refuse('access flags', access, 'known flags only')
    if ((access & (ACCESS.REMOTE_WRITE | ACCESS.REMOTE_ATOMIC)) !== 0 && (access & ACCESS.LOCAL_WRITE) === 0)
      refuse('access flags', access, 'LOCAL_WRITE with REMOTE_WRITE or REMOTE_ATOMIC')
    if (!Number.isSafeInteger(address) || address < 0 || !Number.isSafeInteger(address + bytes.length))
      refuse('address', address, 'an integer of at least 0 below 2^53')
    const end = address + bytes.length
    if (end > this.#addressNext)
      this.#addressNext = (Math.floor((end - 1) / ADDRESS_ALIGN) + 2) * ADDRESS_ALIGN
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const length = bytes.length
    const memory = {
      key: 0,
      isWindow: false,
      pd,
      bytes,
      view,
      address,
      offset: 0,
      length,
      access,
      qpNumber: 0,
    }
    memory.key = this.#take(memory)
    return memory
  }

  /** A type 2 window: opens nothing until it is bound. The returned key is where its next keys come from. */
  allocateWindow(pd: ProtectionDomain): Registration {
    const none = new Uint8Array(0)
    const view = new DataView(none.buffer)
    const window = {
      key: 0,
      isWindow: true,
      pd,
      bytes: none,
      view,
      address: 0,
      offset: 0,
      length: 0,
      access: 0,
      qpNumber: 0,
    }
    window.key = this.#take(window)
    return window
  }

  /** Returns what a key stands for, bound or not; null for a stale or unknown one. */
  find(key: number): Registration | null {
    const registration = this.#slots[key >>> 8] ?? null
    return registration !== null && registration.key === key ? registration : null
  }

  /** The window whose slot `key` names, whatever its tag: the consumer chooses the tag when binding. */
  findWindow(key: number): Registration | null {
    const registration = this.#slots[key >>> 8] ?? null
    return registration?.isWindow ? registration : null
  }

  /** Null unless the key opens all of [address, address + length) for `access` within `pd`. */
  open(
    key: number,
    pd: ProtectionDomain,
    address: number,
    length: number,
    access: number,
    qpNumber: number,
  ): Registration | null {
    const registration = this.find(key)
    if (registration === null || registration.pd !== pd) return null
    if ((registration.access & access) !== access) return null
    if (registration.isWindow && registration.qpNumber !== qpNumber) return null
    if (address < registration.address) return null
    return address + length <= registration.address + registration.length ? registration : null
  }

  /** Memory or window: its key opens nothing from now on. What is under way may still end. */
  deregister(registration: Registration): void {
    const slot = this.#slots.indexOf(registration)
    if (slot < 0) refuse('registration', registration.key, 'one that is registered')
    this.#slots[slot] = null
    registration.key = 0
  }

  #take(registration: Registration): number {
    let slot = this.#slots.indexOf(null, 1)
    if (slot < 0) {
      slot = this.#slots.length
      this.#tags.push(0)
    }
    this.#slots[slot] = registration
    this.#tags[slot] = (this.#tags[slot]! + 1) % KEY_TAGS
    return slot * KEY_TAGS + this.#tags[slot]!
  }
}

function refuse(what: string, got: number, expected: string): never {
  throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got: String(got), expected })
}
