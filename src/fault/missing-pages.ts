/**
 * Draws random pages of a client's memory that are not there yet, for threads that are to fault and not to search. Owned
 * by one thread. Pages that are there stay there: a group of which none is missing is not looked at again.
 */
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'

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
   * A missing page, from a group drawn evenly among those that have any; −1 when next to nothing is missing any more.
   * @param random 0 ≤ x < 1, a new one with every call
   */
  draw(random: () => number): number {
    for (let look = 0; look < LOOKS_MAX && this.#groupCount > 0; look++) {
      const at = Math.floor(random() * this.#groupCount)
      const first = (this.#groups[at] as number) * GROUP_PAGES
      const pages = Math.min(GROUP_PAGES, this.#pageCount - first)
      const missing = this.#look(first, pages)
      if (missing > 0) return first + this.#missingAt(Math.floor(random() * missing))
      this.#groups[at] = this.#groups[--this.#groupCount] as number
    }
    return -1
  }

  /** How many of these pages are missing. */
  #look(first: number, pages: number): number {
    const bytes = pages * this.#pageBytes
    const address = this.#address + first * this.#pageBytes
    check(libc().mincore(address, bytes, this.#resident.address), 'mincore', 'memory of the client')
    let missing = 0
    for (let page = 0; page < pages; page++) if (!this.#isResident(page)) missing++
    return missing
  }

  /** The nth missing page of those looked at last, counted from 0. */
  #missingAt(nth: number): number {
    let page = 0
    for (let left = nth; left > 0 || this.#isResident(page); page++) if (!this.#isResident(page)) left--
    return page
  }

  #isResident(page: number): boolean {
    const at = page * (this.#pageBytes / SYSTEM_PAGE_BYTES)
    return ((this.#resident.u8[at] as number) & 1) === 1
  }
}
