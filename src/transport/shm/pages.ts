/**
 * Two ways from a shared image to the bytes of a read, one for each lane, measured on a virtual machine (4 KiB pages,
 * file in the page cache; time until userfaultfd has placed it):
 *
 *     one page    mapped 6.4 µs, copied 6.4 µs; a page that has been near a read before saves the system call
 *     16 pages    mapped 41 µs, copied 29 µs: the first touch of every mapped page is a miss of the memory unit,
 *                 while a buffer that is used again and again stays in the cache
 *
 * So demand reads the mapping, and prefault copies. Each belongs to its channel's thread.
 */
import { type ImageDescription, ImageReader } from '../../memory/image.ts'
import { FCNTL, MAP, PROT, SEAL } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { check, type Libc, libc } from '../../native/libc.ts'
import type { Greeted } from '../shared-image/greet.ts'

/** What a channel asks about the pages of the read at the head of its queue. */
export interface Pages {
  /** True when all of them can be read. To be asked before the two below. */
  isReadable(firstPage: number, pageCount: number): boolean
  isZero(page: number): boolean
  /** The following pages of the read lie behind it. Valid until isReadable() is asked about another read. */
  addressOf(page: number): number
  /** The read has ended: what could not be read is tried again when it is asked about again. */
  endRead(): void
  close(): void
}

/** The image mapped here, read-only: nothing is copied. Takes the image's descriptor over. */
export class MappedPages implements Pages {
  readonly #reader: ImageReader
  readonly #bytes: number

  constructor({ info, bytes, extents, imageFd }: Greeted, name: string) {
    try {
      const flags = MAP.SHARED | MAP.NORESERVE
      const address = check(libc().mmap(0, bytes, PROT.READ, flags, imageFd, 0), 'mmap', name)
      const seals = libc().fcntl(imageFd, FCNTL.GET_SEALS, 0)
      const cannotShrink = seals > 0 && (seals & SEAL.SHRINK) !== 0
      const id = info.imageId
      const image: ImageDescription = { name, id, bytes, address, fd: -1, extents, isOurs: cannotShrink }
      this.#bytes = bytes
      this.#reader = new ImageReader(image, info.pageSize)
    } finally {
      libc().close(imageFd)
    }
  }

  isReadable(firstPage: number, pageCount: number): boolean {
    return this.#reader.isReadable(firstPage, pageCount)
  }

  isZero(page: number): boolean {
    return this.#reader.isZero(page)
  }

  addressOf(page: number): number {
    return this.#reader.addressOf(page)
  }

  endRead(): void {}

  close(): void {
    libc().munmap(this.#reader.address, this.#bytes)
  }
}

/** The pages of one read, copied into a buffer when they are asked about. Takes the image's descriptor over. */
export class CopiedPages implements Pages {
  readonly #libc: Libc = libc()
  readonly #fd: number
  readonly #pageBytes: number
  readonly #buffer: NativeBuffer
  /** By index in the buffer: 1 when the page could be read. */
  readonly #isRead: Uint8Array
  #first = 0
  #end = 0

  constructor({ info, imageFd }: Greeted, readPagesMax: number) {
    this.#fd = imageFd
    this.#pageBytes = info.pageSize
    this.#buffer = new NativeBuffer(readPagesMax * info.pageSize, 4096)
    this.#isRead = new Uint8Array(readPagesMax)
  }

  isReadable(firstPage: number, pageCount: number): boolean {
    if (firstPage < this.#first || firstPage + pageCount > this.#end) this.#copy(firstPage, pageCount)
    for (let page = firstPage; page < firstPage + pageCount; page++) {
      if (this.#isRead[page - this.#first] === 0) return false
    }
    return true
  }

  isZero(page: number): boolean {
    const words = this.#pageBytes / 4
    const i32 = this.#buffer.i32
    const end = (page - this.#first + 1) * words
    for (let i = end - words; i < end; i++) if (i32[i] !== 0) return false
    return true
  }

  addressOf(page: number): number {
    return this.#buffer.address + (page - this.#first) * this.#pageBytes
  }

  endRead(): void {
    this.#end = this.#first
  }

  close(): void {
    this.#libc.close(this.#fd)
  }

  /** All with one call; where that gives less, page by page, to learn which ones cannot be had. */
  #copy(firstPage: number, pageCount: number): void {
    this.#first = firstPage
    this.#end = firstPage + pageCount
    if (this.#tryCopy(firstPage, pageCount)) {
      this.#isRead.fill(1, 0, pageCount)
      return
    }
    for (let i = 0; i < pageCount; i++) this.#isRead[i] = this.#tryCopy(firstPage + i, 1) ? 1 : 0
  }

  #tryCopy(page: number, pageCount: number): boolean {
    const bytes = pageCount * this.#pageBytes
    return this.#libc.pread(this.#fd, this.addressOf(page), bytes, page * this.#pageBytes) === bytes
  }
}
