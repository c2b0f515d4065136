import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import type { Greeted } from '../shared-image/greet.ts'
import type { Pages } from './mapped-pages.ts'

/**
 * The pages of one read, copied into a buffer when they are asked about: prefault's way from a file that may be cut short, which
 * no mapping of it survives. Takes the image's descriptor over.
 */
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

  likeFirst(firstPage: number, pagesMax: number): number {
    const isZero = this.isZero(firstPage)
    let run = 1
    while (run < pagesMax && this.isZero(firstPage + run) === isZero) run++
    return run
  }

  addressOf(page: number): number {
    return this.#buffer.address + (page - this.#first) * this.#pageBytes
  }

  endRead(): void {
    this.#end = this.#first
  }

  mapAhead(): boolean {
    return false
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
