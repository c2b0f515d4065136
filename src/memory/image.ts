/**
 * A frozen memory image as the source sees it: mapped, read-only, with its holes known. Made once by the serving
 * process; the threads that serve it attach to the same mapping by its plain description.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { FaultlaneError } from '../errors.ts'
import { MAP, PROT, SEEK } from '../native/abi.ts'
import { check, libc } from '../native/libc.ts'

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
  /** −1: it is memory of the serving process alone, which no other can map. */
  readonly fd: number
  /** [first 4 KiB page, pages] of every run that may hold data, ascending; null when not known. */
  readonly extents: Uint32Array | null
  /** The memory is ours (filled by us, in a sealed memfd or without one): it cannot be truncated or fail under us. */
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
    return new Image({
      name,
      id: idOf(identity),
      bytes,
      address,
      fd,
      extents: findExtents(fd, bytes),
      isOurs,
    })
  }

  /** Takes memory of this process over that nobody writes to any more, all of it data: close() unmaps it. */
  static fromMemory(address: number, bytes: number, name: string, identity: string): Image {
    const extents = Uint32Array.of(0, bytes / IMAGE_PAGE_BYTES)
    return new Image({ name, id: idOf(identity), bytes, address, fd: -1, extents, isOurs: true })
  }

  close(): void {
    const { address, bytes, fd } = this.description
    libc().munmap(address, bytes)
    if (fd >= 0) libc().close(fd)
  }
}

function idOf(identity: string): string {
  // Loaded where it is needed: it takes a thread 4 ms, and only a source names its image.
  const { createHash } = createRequire(import.meta.url)('node:crypto') as typeof import('node:crypto')
  return createHash('sha256').update(identity).digest('hex').slice(0, 16)
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
