// @ts-check
/**
 * A transport of our own: pages from a snapshot file that this host can read itself (a local disk, NFS), so that no
 * page source has to run anywhere. It is what a third party writes: one file, the public API alone.
 *
 *     faultlane attach --socket vm.sock --source file:/snapshots/vm.mem --transport ./file-transport.js
 *
 * Reads are synchronous, one a poll: a page costs what the disk costs, and a page that the disk cannot give ends as
 * an ERROR of its own. There is no peer that could be lost and no descriptor to sleep on.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { COMPLETION, FaultlaneError, NativeBuffer } from 'faultlane'

/** @import { Channel, CompletionSink, ImageInfo, Lane, Transport } from 'faultlane' */

const READ_BYTES_MAX = 64 * 1024
const CREDITS = { demand: 256, prefault: 64 }

/** One lane: a descriptor and a buffer of its own, nothing shared with the other. @implements {Channel} */
class FileChannel {
  pollFd = -1
  pollEvents = 0
  bytesReceived = 0
  /** Reads posted and not ended, oldest first: [work id, next page, pages left] each, a ring. */
  #queue
  #head = 0
  #count = 0
  /** Bytes of the read at the head, once it has been read; the sink is handed addresses in here. */
  #buffer
  /** Pages of the head read that are in the buffer: by index, one of COMPLETION. */
  #kinds
  #isHeadRead = false
  /** First page in the buffer. */
  #bufferFirst = 0
  #fd
  /** @type {FaultlaneError | undefined} */
  #closed

  /** @param {string} url @param {Lane} lane @param {number} fd @param {ImageInfo} info */
  constructor(url, lane, fd, info) {
    this.url = url
    this.lane = lane
    this.info = info
    this.creditsMax = CREDITS[lane]
    this.readPagesMax = Math.max(1, Math.floor(READ_BYTES_MAX / info.pageSize))
    this.#fd = fd
    this.#queue = new Float64Array(this.creditsMax * 3)
    this.#buffer = new NativeBuffer(this.readPagesMax * info.pageSize)
    this.#kinds = new Uint8Array(this.readPagesMax)
  }

  get credits() {
    return this.creditsMax - this.#count
  }

  /** @param {number} workId @param {number} firstPage @param {number} pageCount */
  tryPostRead(workId, firstPage, pageCount) {
    if (this.#closed) throw this.#closed
    const { pageCount: pages } = this.info
    if (pageCount < 1 || pageCount > this.readPagesMax || firstPage < 0 || firstPage + pageCount > pages) {
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: 'page range',
        got: `${firstPage}+${pageCount}`,
        expected: `1 to ${this.readPagesMax} pages below ${pages}`,
      })
    }
    if (this.#count === this.creditsMax) return false
    const at = ((this.#head + this.#count) % this.creditsMax) * 3
    this.#queue[at] = workId
    this.#queue[at + 1] = firstPage
    this.#queue[at + 2] = pageCount
    this.#count++
    return true
  }

  flush() {
    if (this.#closed) throw this.#closed
  }

  /** @param {CompletionSink} sink @param {number} completionsMax */
  poll(sink, completionsMax) {
    if (this.#closed) throw this.#closed
    let delivered = 0
    while (delivered < completionsMax && this.#count > 0 && !this.#closed) {
      const at = this.#head * 3
      const workId = this.#queue[at]
      const firstPage = this.#queue[at + 1]
      const left = this.#queue[at + 2]
      if (!this.#isHeadRead) this.#readHead(firstPage, left)
      const index = firstPage - this.#bufferFirst
      const kind = this.#kinds[index]
      let run = 1
      while (run < left && this.#kinds[index + run] === kind) run++
      this.#queue[at + 1] = firstPage + run
      this.#queue[at + 2] = left - run
      if (run === left) {
        this.#head = (this.#head + 1) % this.creditsMax
        this.#count--
        this.#isHeadRead = false
      }
      const { pageSize } = this.info
      const isContent = kind === COMPLETION.CONTENT
      if (isContent) this.bytesReceived += run * pageSize
      sink.onCompletion(workId, firstPage, run, kind, isContent ? this.#buffer.address + index * pageSize : 0)
      delivered++
    }
    return delivered
  }

  armForPark() {
    return this.#count > 0 && !this.#closed
  }

  close() {
    if (this.#closed) return
    closeSync(this.#fd)
    this.#closed = new FaultlaneError({
      code: 'CHANNEL_CLOSED',
      channel: `${this.lane} to ${this.url}`,
      reason: 'it was closed here',
      inFlight: this.#count,
    })
  }

  /** @param {number} firstPage @param {number} pages */
  #readHead(firstPage, pages) {
    this.#bufferFirst = firstPage
    this.#isHeadRead = true
    const { pageSize } = this.info
    // All at once; only where the disk gives less, page by page, to learn which ones it cannot give.
    const isWhole = this.#read(0, firstPage, pages * pageSize)
    for (let i = 0; i < pages; i++) {
      const isRead = isWhole || this.#read(i * pageSize, firstPage + i, pageSize)
      this.#kinds[i] = !isRead ? COMPLETION.ERROR : this.#isZero(i) ? COMPLETION.ZERO : COMPLETION.CONTENT
    }
  }

  /** @param {number} offset @param {number} page @param {number} bytes */
  #read(offset, page, bytes) {
    try {
      return readSync(this.#fd, this.#buffer.u8, offset, bytes, page * this.info.pageSize) === bytes
    } catch {
      return false
    }
  }

  /** @param {number} index */
  #isZero(index) {
    const words = this.info.pageSize / 4
    const end = (index + 1) * words
    for (let i = index * words; i < end; i++) if (this.#buffer.i32[i] !== 0) return false
    return true
  }
}

/** Opens the file and tells what is in it; the descriptor is the caller's. @param {string} url @param {number} pageSize */
function openImage(url, pageSize) {
  let fd = -1
  try {
    fd = openSync(url.slice('file:'.length), 'r')
    const { dev, ino, size, mtimeNs } = fstatSync(fd, { bigint: true })
    const isPowerOfTwo = pageSize >= 4096 && (pageSize & (pageSize - 1)) === 0
    const bytes = Number(size)
    if (!isPowerOfTwo || bytes === 0 || bytes % pageSize !== 0) {
      throw new FaultlaneError({
        code: 'GEOMETRY_MISMATCH',
        what: `page size asked of ${url}`,
        got: `${pageSize} bytes`,
        expected: `a power of two from 4096 that divides the image's ${bytes} bytes`,
      })
    }
    const imageId = createHash('sha256').update(`${dev} ${ino} ${size} ${mtimeNs}`).digest('hex').slice(0, 16)
    return { fd, info: { imageId, pageSize, pageCount: bytes / pageSize, dataExtents: null } }
  } catch (cause) {
    if (fd >= 0) closeSync(fd)
    if (cause instanceof FaultlaneError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new FaultlaneError({ code: 'CONNECT_FAILED', url, reason }, { cause })
  }
}

/** @type {Transport} */
const transport = {
  schemes: ['file'],
  describe(url, options = {}) {
    const { fd, info } = openImage(url, options.pageSize ?? 4096)
    closeSync(fd)
    return info
  },
  open(url, lane, options = {}) {
    const { fd, info } = openImage(url, options.pageSize ?? 4096)
    return new FileChannel(url, lane, fd, info)
  },
}
export default transport
