/**
 * The small image that the suite reads: data of every awkward kind (first and last page, a page zero but for one
 * byte, pages written as zeros, holes), known page by page. Never changes once made.
 */
import { closeSync, ftruncateSync, openSync, truncateSync, writeSync } from 'node:fs'
import { NativeBuffer } from '../../native/buffer.ts'
import { COMPLETION } from '../transport.ts'
import { nextRandom } from './random.ts'

export const UNIT_BYTES = 4096
/** 768 KiB: a multiple of every page size to 256 KiB and of none above. */
const UNITS = 192
const HOLE_FIRST = 32
const HOLE_END = 64
/** A page that is zero except its last byte, and one that is zero except its first. */
const LAST_BYTE_ONLY = 5
const FIRST_BYTE_ONLY = 6

function isHole(unit: number): boolean {
  return unit >= HOLE_FIRST && unit < HOLE_END
}

/** Pages written as zeros: alone, and a run of eleven. */
function isWrittenZero(unit: number): boolean {
  return unit % 7 === 3 || (unit >= 100 && unit <= 110)
}

export class ConformanceImage {
  readonly bytes = UNITS * UNIT_BYTES
  /** Bytes that can be read; beyond them the source must answer ERROR. Less than `bytes` in one image of two. */
  readonly readableBytes: number
  /** The content, at an address for comparing. */
  readonly content: NativeBuffer

  constructor(readableBytes = UNITS * UNIT_BYTES) {
    this.readableBytes = readableBytes
    this.content = new NativeBuffer(this.bytes, UNIT_BYTES)
    const words = this.content.u32
    const unitWords = UNIT_BYTES / 4
    let state = 1
    for (let unit = 0; unit < UNITS; unit++) {
      if (isHole(unit) || isWrittenZero(unit)) continue
      if (unit === LAST_BYTE_ONLY) this.content.u8[(unit + 1) * UNIT_BYTES - 1] = 1
      else if (unit === FIRST_BYTE_ONLY) this.content.u8[unit * UNIT_BYTES] = 1
      else {
        for (let i = 0; i < unitWords; i++) {
          state = (state + 1) | 0
          words[unit * unitWords + i] = nextRandom(state)
        }
      }
    }
  }

  /** Writes the image as a file of `bytes` bytes, its holes left out. */
  writeTo(path: string): void {
    const fd = openSync(path, 'w')
    ftruncateSync(fd, this.bytes)
    for (let unit = 0; unit < UNITS; unit++) {
      if (isHole(unit)) continue
      const at = unit * UNIT_BYTES
      writeSync(fd, this.content.u8.slice(at, at + UNIT_BYTES), 0, UNIT_BYTES, at)
    }
    closeSync(fd)
  }

  /** Makes the tail of that file unreadable. Call it when the source has opened the file and knows its size. */
  cut(path: string): void {
    if (this.readableBytes < this.bytes) truncateSync(path, this.readableBytes)
  }

  /** How a read of this page must end: one of COMPLETION. */
  expectedKind(page: number, pageSize: number): number {
    const begin = page * pageSize
    if (begin + pageSize > this.readableBytes) return COMPLETION.ERROR
    const words = this.content.u32
    for (let i = begin / 4; i < (begin + pageSize) / 4; i++) if (words[i] !== 0) return COMPLETION.CONTENT
    return COMPLETION.ZERO
  }
}
