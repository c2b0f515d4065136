/**
 * Draws random pages of a client's memory that are not there yet, for threads that are to fault and not to search. Owned
 * by one thread. Pages that are there stay there: a group of which none is missing is not looked at again.
 */
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'

/** Single pages looked at before groups are: where prefault has been, all groups are full, and crossing them off took a thread 10 ms. */
const TRIES_MAX = 16
/** Looked at by one mincore(2), a microsecond or two. */
const GROUP_PAGES = 64
/** Groups looked at for one draw; thousands are crossed off in a row where much has come since the last. */
const LOOKS_MAX = 4096
/** mincore(2) speaks of pages of this size, whatever the client's are. */
const SYSTEM_PAGE_BYTES = 4096

export class MissingPages {
  readonly #address: number
  readonly #pageBytes: number
  readonly #pageCount: number
  /** Groups that may have missing pages; the first #groupCount. */
  readonly #groups: Uint32Array
  #groupCount: number
  readonly #resident: NativeBuffer

  constructor(address: number, pageBytes: number, pageCount: number) {
    this.#address = address
    this.#pageBytes = pageBytes
    this.#pageCount = pageCount
    this.#groupCount = Math.ceil(pageCount / GROUP_PAGES)
    this.#groups = Uint32Array.from({ length: this.#groupCount }, (_, group) => group)
    this.#resident = new NativeBuffer(GROUP_PAGES * (pageBytes / SYSTEM_PAGE_BYTES))
  }

  /**
   * A missing page: any, as long as a few tries find one; then from a group drawn evenly among those that have any, the first
   * from a random place on. −1 when next to nothing is missing any more.
   * @param random 0 ≤ x < 1, a new one with every call
   */
  draw(random: () => number): number {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const page = this.#findMissing(Math.floor(random() * this.#pageCount), 1, 0)
      if (page >= 0) return page
    }
    for (let look = 0; look < LOOKS_MAX && this.#groupCount > 0; look++) {
      const at = Math.floor(random() * this.#groupCount)
      const first = (this.#groups[at] as number) * GROUP_PAGES
      const pages = Math.min(GROUP_PAGES, this.#pageCount - first)
      const page = this.#findMissing(first, pages, Math.floor(random() * pages))
      if (page >= 0) return page
      this.#groups[at] = this.#groups[--this.#groupCount] as number
    }
    return -1
  }

  /** The first missing one of these pages from `start` of them on, and then from the beginning; −1: all are there. */
  #findMissing(first: number, pages: number, start: number): number {
    const bytes = pages * this.#pageBytes
    const address = this.#address + first * this.#pageBytes
    check(libc().mincore(address, bytes, this.#resident.address), 'mincore', 'memory of the client')
    const resident = this.#resident.u8
    const step = this.#pageBytes / SYSTEM_PAGE_BYTES
    for (let page = start; page < pages; page++)
      if (!((resident[page * step] as number) & 1)) return first + page
    for (let page = 0; page < start; page++) if (!((resident[page * step] as number) & 1)) return first + page
    return -1
  }
}
