/**
 * Which of the client's addresses belongs to which page of the image. Lies in shared memory: the demand agent
 * writes it before a session starts, both lanes read it while the session runs.
 *
 * Words: region count, bytes per page, then per region four words: address high half, low half, first page, pages.
 */
import { REGIONS_MAX } from './handshake-parse.ts'

const COUNT = 0
const PAGE_BYTES = 1
const FIRST = 2
const WORDS = 4

export const REGION_TABLE_WORDS = FIRST + REGIONS_MAX * WORDS
/** No region covers it. */
export const NO_PAGE = -1

export interface RegionEntry {
  readonly baseHi: number
  readonly baseLo: number
  readonly firstPage: number
  readonly pageCount: number
}

export class RegionTable {
  /** Results of locate(): the page's address, and how many pages follow it in its region, itself included. */
  hi = 0
  lo = 0
  pagesLeft = 0
  readonly #words: Uint32Array
  /** The entry that the last page was found in. Kept over sessions: whatever stands there now is looked at anew. */
  #last = FIRST

  constructor(words: Int32Array, offset: number) {
    this.#words = new Uint32Array(words.buffer, words.byteOffset + offset * 4, REGION_TABLE_WORDS)
  }

  get count(): number {
    return this.#words[COUNT] as number
  }

  get pageBytes(): number {
    return this.#words[PAGE_BYTES] as number
  }

  /** Before a session starts. Entries of the session before cover nothing: another thread may still remember one. */
  set(pageBytes: number, regions: readonly RegionEntry[]): void {
    const end = FIRST + regions.length * WORDS
    this.#words.fill(0, end, Math.max(end, FIRST + this.count * WORDS))
    this.#words[COUNT] = regions.length
    this.#words[PAGE_BYTES] = pageBytes
    regions.forEach((region, i) => {
      this.#words.set([region.baseHi, region.baseLo, region.firstPage, region.pageCount], FIRST + i * WORDS)
    })
    this.#last = FIRST
  }

  entry(index: number): RegionEntry {
    const [baseHi, baseLo, firstPage, pageCount] = this.#words.subarray(
      FIRST + index * WORDS,
    ) as unknown as number[]
    return { baseHi, baseLo, firstPage, pageCount } as RegionEntry
  }

  /** Fills hi, lo and pagesLeft for a page; false when no region covers it. */
  locate(page: number): boolean {
    const words = this.#words
    let at = this.#last
    let offset = page - (words[at + 2] as number)
    if (offset < 0 || offset >= (words[at + 3] as number)) {
      const end = FIRST + this.count * WORDS
      for (at = FIRST; at < end; at += WORDS) {
        offset = page - (words[at + 2] as number)
        if (offset >= 0 && offset < (words[at + 3] as number)) break
      }
      if (at >= end) return false
      this.#last = at
    }
    // Exact in doubles: both halves stay below 2^53.
    const low = (words[at + 1] as number) + offset * this.pageBytes
    const carry = Math.floor(low / 0x1_0000_0000)
    this.hi = (words[at] as number) + carry
    this.lo = low - carry * 0x1_0000_0000
    this.pagesLeft = (words[at + 3] as number) - offset
    return true
  }

  /** The image page that holds the address, NO_PAGE when no region covers it. */
  pageAt(hi: number, lo: number): number {
    const words = this.#words
    const end = FIRST + this.count * WORDS
    for (let at = FIRST; at < end; at += WORDS) {
      const bytes = (hi - (words[at] as number)) * 0x1_0000_0000 + (lo - (words[at + 1] as number))
      if (bytes < 0) continue
      const offset = Math.floor(bytes / this.pageBytes)
      if (offset < (words[at + 3] as number)) return (words[at + 2] as number) + offset
    }
    return NO_PAGE
  }
}
