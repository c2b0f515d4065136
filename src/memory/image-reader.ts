/** One thread's reading end of an image. */
import { ERRNO, MADV } from '../native/abi.ts'
import { libc, viewOf } from '../native/libc.ts'
import { extentsInPages, IMAGE_PAGE_BYTES, type ImageDescription } from './image.ts'

/** Pages around a page that is asked for are asked about with it: as many as the kernel maps in one fault anyway. */
const LOOK_AROUND_BYTES = 64 * 1024

function holeBits(extents: Uint32Array, bytes: number): Uint8Array {
  const bits = new Uint8Array(bytes).fill(0xff)
  for (let i = 0; i < extents.length; i += 2) {
    const end = (extents[i] as number) + (extents[i + 1] as number)
    for (let page = extents[i] as number; page < end; ) {
      if ((page & 7) === 0 && end - page >= 8) {
        bits[page >> 3] = 0
        page += 8
      } else {
        bits[page >> 3] = (bits[page >> 3] as number) & ~(1 << (page & 7))
        page++
      }
    }
  }
  return bits
}

/** Indices of typed arrays stay small integers. */
const VIEW_BYTES = 1 << 30
/** Views made with the reader; a larger image's others are made as they are read. */
const VIEWS_AT_ONCE = 4

/**
 * One thread's reading end of an image: which pages are zero, which cannot be read. A page of a mapped file
 * can fail (truncated, I/O error); touching it would kill us by SIGBUS, so the kernel is asked first
 * (MADV_POPULATE_READ reports it as an error), once per page and for its neighbours with it.
 */
export class ImageReader {
  readonly address: number
  readonly pageBytes: number
  readonly pageCount: number
  /** A view per GiB, made when it is first read: making one costs milliseconds of garbage collection. */
  readonly #words: (Int32Array | undefined)[]
  readonly #wordsPerPage: number
  readonly #pagesPerView: number
  readonly #pagesPerLook: number
  /** Bit set: the page can be read without asking the kernel first. Holes are never read at all. */
  readonly #verified: Uint8Array
  /** Bit set: the page is a hole, zero without looking. */
  readonly #holes: Uint8Array | null
  #canPopulate = true
  /** Every page can be read. */
  readonly #isVerified: boolean

  constructor(image: ImageDescription, pageBytes = IMAGE_PAGE_BYTES) {
    this.address = image.address
    this.pageBytes = pageBytes
    this.pageCount = Math.floor(image.bytes / pageBytes) // Whole anyway; to the engine the quotient of a large number is no integer.
    this.#wordsPerPage = pageBytes / 4
    this.#pagesPerView = VIEW_BYTES / pageBytes
    this.#pagesPerLook = Math.max(1, LOOK_AROUND_BYTES / pageBytes)
    this.#words = new Array<Int32Array | undefined>(Math.ceil(image.bytes / VIEW_BYTES)).fill(undefined)
    // A new view of a GiB makes the engine collect garbage, 10 to 30 ms: before the first request, not within it.
    for (let index = 0; index < Math.min(this.#words.length, VIEWS_AT_ONCE); index++) {
      this.#makeView(index * this.#pagesPerView)
    }
    const extents = extentsInPages(image.extents, pageBytes)
    const bytes = Math.ceil(this.pageCount / 8)
    this.#holes = extents ? holeBits(extents, bytes) : null
    this.#isVerified = image.isOurs
    this.#verified = image.isOurs
      ? new Uint8Array(bytes).fill(0xff)
      : (this.#holes?.slice() ?? new Uint8Array(bytes))
  }

  addressOf(page: number): number {
    return this.address + page * this.pageBytes
  }

  #makeView(page: number): Int32Array {
    const index = Math.floor(page / this.#pagesPerView)
    const at = index * VIEW_BYTES
    const bytes = Math.min(VIEW_BYTES, this.pageCount * this.pageBytes - at)
    const view = new Int32Array(viewOf(this.address + at, bytes))
    this.#words[index] = view
    return view
  }

  /** True when the pages can be read without being killed. Also brings them into memory. */
  isReadable(firstPage: number, pageCount: number): boolean {
    if (this.#isVerified) return true
    let unverified = false
    for (let page = firstPage; page < firstPage + pageCount; page++) {
      if (((this.#verified[page >> 3] as number) & (1 << (page & 7))) === 0) unverified = true
    }
    if (!unverified) return true
    // The neighbours come along unless they are holes, which a read would fill with memory.
    const step = this.#pagesPerLook
    let begin = firstPage
    let end = firstPage + pageCount
    while (begin % step !== 0 && !this.isHole(begin - 1)) begin--
    while (end % step !== 0 && end < this.pageCount && !this.isHole(end)) end++
    return this.#verify(begin, end) || this.#verify(firstPage, firstPage + pageCount)
  }

  /** Known to be zero without reading it. */
  isHole(page: number): boolean {
    return this.#holes !== null && ((this.#holes[page >> 3] as number) & (1 << (page & 7))) !== 0
  }

  /** Brings pages [begin, end) into memory; false when one of them cannot be. */
  #verify(begin: number, end: number): boolean {
    if (this.#canPopulate) {
      const c = libc()
      const result = c.madvise(this.addressOf(begin), (end - begin) * this.pageBytes, MADV.POPULATE_READ)
      if (result !== 0) {
        if (c.errno() !== ERRNO.EINVAL) return false
        this.#canPopulate = false // Before Linux 5.14.
      }
    }
    for (let page = begin; page < end; page++) {
      this.#verified[page >> 3] = (this.#verified[page >> 3] as number) | (1 << (page & 7))
    }
    return true
  }

  /** How many of the readable pages from the first on are like it: all zero, or none; at most `pagesMax`. */
  likeFirst(firstPage: number, pagesMax: number): number {
    const isZero = this.isZero(firstPage)
    const end = firstPage + pagesMax
    let page = firstPage + 1
    if (isZero) {
      while (page < end && this.isZero(page)) page++
      return page - firstPage
    }
    while (page < end) {
      page = this.#firstSuspect(page, end)
      if (page === end || this.isZero(page)) break
      page++
    }
    return page - firstPage
  }

  /** The first page that is a hole or begins with a word of zero; the usual page is neither. */
  #firstSuspect(firstPage: number, endPage: number): number {
    const words = this.#wordsPerPage
    const holes = this.#holes
    for (let page = firstPage; page < endPage; ) {
      const view = this.#words[Math.floor(page / this.#pagesPerView)] ?? this.#makeView(page)
      const start = page % this.#pagesPerView
      const stop = Math.min(this.#pagesPerView, start + endPage - page)
      for (let at = start; at < stop; at++, page++) {
        // Asked first: a hole that is read is filled with memory.
        if (holes !== null && ((holes[page >> 3] as number) & (1 << (page & 7))) !== 0) return page
        if (view[at * words] === 0) return page
      }
    }
    return endPage
  }

  /** True when every byte of a readable page is zero; one load for the usual page that is not. */
  isZero(page: number): boolean {
    if (this.isHole(page)) return true
    const view = this.#words[Math.floor(page / this.#pagesPerView)] ?? this.#makeView(page)
    const start = (page % this.#pagesPerView) * this.#wordsPerPage
    const end = start + this.#wordsPerPage
    for (let i = start; i < end; i++) if (view[i] !== 0) return false
    return true
  }
}

/** The readers of one thread, one for each page size that somebody asks for: what one has verified serves all. */
export class ImageReaders {
  readonly image: ImageDescription
  readonly #byPageBytes = new Map<number, ImageReader>()

  constructor(image: ImageDescription) {
    this.image = image
  }

  of(pageBytes: number): ImageReader {
    let reader = this.#byPageBytes.get(pageBytes)
    if (!reader) {
      reader = new ImageReader(this.image, pageBytes)
      this.#byPageBytes.set(pageBytes, reader)
    }
    return reader
  }
}
