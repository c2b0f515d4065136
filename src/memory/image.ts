/**
 * A frozen memory image as the source sees it: mapped, read-only, with its holes known. Made once by the serving
 * process; the threads that serve it attach to the same mapping by its plain description.
 */
import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { FaultlaneError } from '../errors.ts'
import { ERRNO, MADV, MAP, PROT, SEEK } from '../native/abi.ts'
import { check, libc, viewOf } from '../native/libc.ts'

/** Smallest page we serve, and the unit of `extents`. */
export const IMAGE_PAGE_BYTES = 4096

/** Runs of data beyond which the hole map is not worth its memory; every page then counts as data. */
export const EXTENTS_MAX = 1 << 20

/** What crosses to a worker: plain data, valid in every thread of this process. */
export interface ImageDescription {
  readonly name: string
  /** 16 hexadecimal digits; the same file unchanged gives the same id after a restart. */
  readonly id: string
  readonly bytes: number
  readonly address: number
  readonly fd: number
  /** [first 4 KiB page, pages] of every run that may hold data, ascending; null when not known. */
  readonly extents: Uint32Array | null
  /** The memory is ours (a memfd we filled): it cannot be truncated or fail under us. */
  readonly isOurs: boolean
}

export class Image {
  readonly description: ImageDescription

  constructor(description: ImageDescription) {
    this.description = description
  }

  /** Maps a file (or a memfd by its /proc path). Throws IMAGE_UNREADABLE or IMAGE_GEOMETRY. */
  static open(path: string): Image {
    let fd: number
    try {
      fd = openSync(path, constants.O_RDONLY)
    } catch (cause) {
      throw new FaultlaneError(
        { code: 'IMAGE_UNREADABLE', path, reason: (cause as Error).message },
        { cause },
      )
    }
    try {
      const stat = fstatSync(fd, { bigint: true })
      if (!stat.isFile())
        throw new FaultlaneError({ code: 'IMAGE_UNREADABLE', path, reason: 'it is not a regular file' })
      const bytes = Number(stat.size)
      const identity = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs}`
      return Image.fromFd(fd, bytes, path, identity)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** Takes the descriptor over: close() closes it. `identity` names the content for the image id. */
  static fromFd(fd: number, bytes: number, name: string, identity: string, isOurs = false): Image {
    if (bytes === 0 || bytes % IMAGE_PAGE_BYTES !== 0) {
      throw new FaultlaneError({ code: 'IMAGE_GEOMETRY', path: name, bytes, pageSize: IMAGE_PAGE_BYTES })
    }
    // What is in memory already is mapped at once: the first touch of each page would cost a minor fault.
    const flags = MAP.SHARED | MAP.NORESERVE | (isOurs ? MAP.POPULATE : 0)
    const address = check(libc().mmap(0, bytes, PROT.READ, flags, fd, 0), 'mmap', name)
    const id = createHash('sha256').update(identity).digest('hex').slice(0, 16)
    return new Image({ name, id, bytes, address, fd, extents: findExtents(fd, bytes), isOurs })
  }

  close(): void {
    const { address, bytes, fd } = this.description
    libc().munmap(address, bytes)
    libc().close(fd)
  }
}

/** Asks the file system where data is; no byte of the image is read. */
function findExtents(fd: number, bytes: number): Uint32Array | null {
  const c = libc()
  const pairs: number[] = []
  for (let at = 0; at < bytes; ) {
    const data = c.lseek(fd, at, SEEK.DATA)
    if (data < 0) {
      if (c.errno() === 6 /* ENXIO: only a hole is left */) break
      return null // The file system does not tell.
    }
    const hole = c.lseek(fd, data, SEEK.HOLE)
    if (hole < 0) return null
    const first = Math.floor(data / IMAGE_PAGE_BYTES)
    const end = Math.min(Math.ceil(hole / IMAGE_PAGE_BYTES), bytes / IMAGE_PAGE_BYTES)
    const lastAt = pairs.length - 2
    const lastEnd = lastAt >= 0 ? (pairs[lastAt] as number) + (pairs[lastAt + 1] as number) : -1
    if (lastEnd >= first) pairs[lastAt + 1] = end - (pairs[lastAt] as number)
    else pairs.push(first, end - first)
    if (pairs.length > EXTENTS_MAX * 2) return null
    at = hole
  }
  return Uint32Array.from(pairs)
}

/** The extents in pages of `pageBytes`, merged where several fall into one page. */
export function extentsInPages(extents: Uint32Array | null, pageBytes: number): Uint32Array | null {
  if (!extents || pageBytes === IMAGE_PAGE_BYTES) return extents
  const scale = pageBytes / IMAGE_PAGE_BYTES
  const pairs: number[] = []
  for (let i = 0; i < extents.length; i += 2) {
    const first = Math.floor((extents[i] as number) / scale)
    const end = Math.ceil(((extents[i] as number) + (extents[i + 1] as number)) / scale)
    const at = pairs.length - 2
    if (at >= 0 && (pairs[at] as number) + (pairs[at + 1] as number) >= first) {
      pairs[at + 1] = Math.max(end - (pairs[at] as number), pairs[at + 1] as number)
    } else pairs.push(first, end - first)
  }
  return Uint32Array.from(pairs)
}

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

  constructor(image: ImageDescription, pageBytes = IMAGE_PAGE_BYTES) {
    this.address = image.address
    this.pageBytes = pageBytes
    this.pageCount = image.bytes / pageBytes
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
