/**
 * Memory at a fixed address that both JavaScript and system calls see: structs for ioctl and msghdr, receive
 * buffers, poll sets. Shared memory, because a SharedArrayBuffer never moves.
 */
import { addressOf } from './libc.ts'

export class NativeBuffer {
  readonly bytes: number
  readonly buffer: SharedArrayBuffer
  readonly u8: Uint8Array
  readonly i16: Int16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  /** Address of byte 0, page-aligned when asked for. */
  readonly address: number

  /** @param bytes rounded up to a multiple of 8 */
  constructor(bytes: number, align = 8) {
    const size = Math.ceil(bytes / 8) * 8
    this.buffer = new SharedArrayBuffer(size + align)
    const start = addressOf(new Uint8Array(this.buffer))
    const skip = (align - (start % align)) % align
    this.bytes = size
    this.address = start + skip
    this.u8 = new Uint8Array(this.buffer, skip, size)
    this.i16 = new Int16Array(this.buffer, skip, size / 2)
    this.i32 = new Int32Array(this.buffer, skip, size / 4)
    this.u32 = new Uint32Array(this.buffer, skip, size / 4)
  }

  /** Writes a number below 2^53 as a little-endian u64 at a byte offset that is a multiple of 4. */
  setU64(offset: number, value: number): void {
    const word = offset >> 2
    this.u32[word] = value >>> 0
    this.u32[word + 1] = Math.floor(value / 0x1_0000_0000)
  }

  /** Reads a little-endian u64; exact below 2^53. */
  getU64(offset: number): number {
    const word = offset >> 2
    return (this.u32[word + 1] as number) * 0x1_0000_0000 + (this.u32[word] as number)
  }
}

/** Address of a typed array over shared memory; it stays for as long as the array lives. */
export function addressOfArray(array: Uint8Array | Uint32Array | Int32Array): number {
  return addressOf(array)
}
