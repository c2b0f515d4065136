import { IMAGE_PAGE_BYTES, type ImageDescription } from '../../memory/image.ts'
import { ImageReader } from '../../memory/image-reader.ts'
import { FCNTL, MADV, MAP, PROT, SEAL } from '../../native/abi.ts'
import { check, libc } from '../../native/libc.ts'
import type { Greeted } from '../shared-image/greet.ts'

/** What a channel asks about the pages of the read at the head of its queue. */
export interface Pages {
  /** True when all of them can be read. To be asked before what follows. */
  isReadable(firstPage: number, pageCount: number): boolean
  isZero(page: number): boolean
  /** How many pages from the first on are like it: all zero, or none; at most `pagesMax`. */
  likeFirst(firstPage: number, pagesMax: number): number
  /** The following pages of the read lie behind it. Valid until isReadable() is asked about another read. */
  addressOf(page: number): number
  /** The read has ended: what could not be read is tried again when it is asked about again. */
  endRead(): void
  /** A piece of what the first reads would otherwise have to do; false when nothing is left. */
  mapAhead(): boolean
  close(): void
}

/** True for memory that nobody can cut short any more: a mapping of it is safe to read. */
export function cannotShrink(imageFd: number): boolean {
  const seals = libc().fcntl(imageFd, FCNTL.GET_SEALS, 0)
  return seals > 0 && (seals & SEAL.SHRINK) !== 0
}

/** Mapped in one call. */
const AHEAD_PAGES = 512

/**
 * The image mapped here, read-only: pages are placed straight from it. Takes the image's descriptor over, and belongs to
 * its channel's thread. Copying them into a warm buffer first, 128 at a time, brought memory here at 1594 MB/s, and this at 1763; in a second
 * session at 1772 and 2434 (2 × Xeon, sealed memfd of 256 MiB, medians of 6).
 */
export class MappedPages implements Pages {
  readonly #reader: ImageReader
  readonly #bytes: number
  /** Runs of data still to be mapped ahead, [first 4 KiB page, pages]; none of an image that may be cut short. */
  readonly #ahead: Uint32Array
  #aheadRun = 0
  #aheadPage = 0

  constructor({ info, bytes, extents, imageFd }: Greeted, name: string) {
    try {
      const flags = MAP.SHARED | MAP.NORESERVE
      const address = check(libc().mmap(0, bytes, PROT.READ, flags, imageFd, 0), 'mmap', name)
      const isSealed = cannotShrink(imageFd)
      const id = info.imageId
      const image: ImageDescription = { name, id, bytes, address, fd: -1, extents, isOurs: isSealed }
      this.#bytes = bytes
      this.#ahead = isSealed ? (extents ?? Uint32Array.of(0, bytes / IMAGE_PAGE_BYTES)) : new Uint32Array(0)
      this.#reader = new ImageReader(image, info.pageSize)
    } finally {
      libc().close(imageFd)
    }
  }

  /**
   * Maps the next pages of an image that is in memory anyway, some 100 µs of it; false when all are. The first touch of a mapped page
   * is a miss of the memory unit: 20 of the 140 ms that a first session took for 256 MiB.
   */
  mapAhead(): boolean {
    const first = this.#ahead[this.#aheadRun]
    if (first === undefined) return false
    const left = (this.#ahead[this.#aheadRun + 1] as number) - this.#aheadPage
    const pages = Math.min(left, AHEAD_PAGES)
    const address = this.#reader.address + (first + this.#aheadPage) * IMAGE_PAGE_BYTES
    this.#aheadPage += pages
    if (pages === left) {
      this.#aheadRun += 2
      this.#aheadPage = 0
    }
    return pages > 0 && libc().madvise(address, pages * IMAGE_PAGE_BYTES, MADV.POPULATE_READ) === 0
  }

  isReadable(firstPage: number, pageCount: number): boolean {
    return this.#reader.isReadable(firstPage, pageCount)
  }

  isZero(page: number): boolean {
    return this.#reader.isZero(page)
  }

  /** See ImageReader.likeFirst(). */
  likeFirst(firstPage: number, pagesMax: number): number {
    return this.#reader.likeFirst(firstPage, pagesMax)
  }

  addressOf(page: number): number {
    return this.#reader.addressOf(page)
  }

  endRead(): void {}

  close(): void {
    libc().munmap(this.#reader.address, this.#bytes)
  }
}
