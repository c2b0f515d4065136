/**
 * The body of a handshake: which memory the client has, and where in the image its content lies. Pure.
 *
 * The body is bare JSON on a stream, without length or end mark, in any of these dialects:
 *
 *     [region, …]                                          Firecracker
 *     {"mappings": [region, …]}                            wrappers of it
 *     {"type": 0, "regions": [region, …], "policy": …}     nydus
 *
 * Addresses use all 64 bits, which JSON.parse would round, so long numbers are read as the text that was sent.
 */
import { FaultlaneError } from '../errors.ts'

/** One span of the client's memory, checked: aligned, inside the image, overlapping no other. */
export interface ClientRegion {
  /** Address in the client: exact, and as the halves that the ioctls take. */
  readonly base: bigint
  readonly baseHi: number
  readonly baseLo: number
  readonly bytes: number
  /** Where its content begins in the image, bytes. */
  readonly offset: number
}

export interface HandshakeBody {
  /** In the client's order. */
  readonly regions: readonly ClientRegion[]
  /** Of all regions, bytes. */
  readonly pageSize: number
}

/** Beyond this no VM has been seen; each region costs a look at every fault. */
export const REGIONS_MAX = 1024
/** Room for REGIONS_MAX regions of 1 KiB each; the longest spelling we know takes 160 bytes. */
export const BODY_BYTES_MAX = 1 << 20
const PAGE_SIZES = [4096, 2 << 20, 1 << 30]
const EXPECTED =
  'a JSON array of regions {base_host_virt_addr, size, offset, page_size} with a userfaultfd beside it'

export function handshakeError(reason: string): FaultlaneError {
  return new FaultlaneError({ code: 'HANDSHAKE', reason, expected: EXPECTED })
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const U64_END = 1n << 64n
const U64_DIGITS = 20
const QUOTE = 0x22
const BACKSLASH = 0x5c

/** ']' for '[', '}' for '{', 0 for anything else. */
function closerOf(byte: number): number {
  return byte === 0x5b || byte === 0x7b ? byte + 2 : 0
}

/**
 * Collects a body as it arrives, in any pieces, and knows when it is complete by its brackets. One loop over local
 * variables, because the first handshake runs in the interpreter while a client already waits for its first page.
 */
export class BodyCollector {
  #bytes: Uint8Array = new Uint8Array(64 << 10)
  #length = 0
  /** The bracket that closes each open one, innermost last. */
  readonly #closers: number[] = []
  #inString = false
  #escaped = false
  #isComplete = false

  get length(): number {
    return this.#length
  }

  /** Adds what has come; true when the body is complete. Throws HANDSHAKE for what can be no body. */
  add(piece: Uint8Array): boolean {
    const closers = this.#closers
    let inString = this.#inString
    let escaped = this.#escaped
    let start = -1
    let end = piece.length
    if (this.#isComplete) end = 0
    else if (closers.length > 0) start = 0
    else start = skipPadding(piece, 0)
    if (start === piece.length) return this.#isComplete
    if (this.#length === 0 && end > 0 && closerOf(piece[start] as number) === 0) {
      throw handshakeError('the body is not a JSON array or object')
    }
    for (let i = start; i < end; i++) {
      const byte = piece[i] as number
      if (inString) {
        if (escaped) escaped = false
        else if (byte === BACKSLASH) escaped = true
        else if (byte === QUOTE) inString = false
      } else if (byte === QUOTE) inString = true
      else if (byte === 0x5b || byte === 0x7b) closers.push(byte + 2)
      else if (byte === 0x5d || byte === 0x7d) {
        if (closers.pop() !== byte) throw handshakeError('the body is not JSON')
        if (closers.length === 0) end = i + 1
      }
    }
    this.#inString = inString
    this.#escaped = escaped
    if (end > 0) this.#append(piece.subarray(start, end))
    this.#isComplete = closers.length === 0
    if (this.#isComplete && skipPadding(piece, end) < piece.length) {
      throw handshakeError('there are bytes after the end of the body')
    }
    return this.#isComplete
  }

  /** The collected body's text. Throws HANDSHAKE when it is not UTF-8. */
  text(): string {
    try {
      return utf8.decode(this.#bytes.subarray(0, this.#length))
    } catch {
      throw handshakeError('the body is not UTF-8')
    }
  }

  #append(piece: Uint8Array): void {
    const length = this.#length + piece.length
    if (length > BODY_BYTES_MAX) throw handshakeError(`the body is longer than ${BODY_BYTES_MAX} bytes`)
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, this.#bytes.length * 2))
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#bytes.set(piece, this.#length)
    this.#length = length
  }
}

/** Index of the first byte that is no padding: blanks, and the zero byte that carries a descriptor alone. */
function skipPadding(piece: Uint8Array, from: number): number {
  for (let i = from; i < piece.length; i++) {
    const byte = piece[i] as number
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d) && byte !== 0) return i
  }
  return piece.length
}

/** Reads and checks a complete body against an image of `imageBytes`. Throws HANDSHAKE. */
export function parseHandshake(text: string, imageBytes: number): HandshakeBody {
  const list = regionList(parseExact(text))
  if (list.length === 0) throw handshakeError('it names no region')
  if (list.length > REGIONS_MAX)
    throw handshakeError(`it names ${list.length} regions; at most ${REGIONS_MAX}`)

  const pageSize = pageSizeOf(list[0], 0)
  const regions = list.map((item, index) => {
    const own = pageSizeOf(item, index)
    if (own !== pageSize) {
      throw handshakeError(
        `region ${index} has pages of ${own} bytes, region 0 of ${pageSize}; one size serves all`,
      )
    }
    return regionOf(item, index, pageSize, imageBytes)
  })
  refuseOverlap(regions, 'memory', (region) => region.base)
  refuseOverlap(regions, 'the image', (region) => BigInt(region.offset))
  return { regions, pageSize }
}

/** A region before checking, for our own clients. */
export interface RegionToSend {
  readonly base: bigint
  readonly bytes: number
  readonly offset: number
}

export type HandshakeDialect = 'firecracker' | 'mappings' | 'nydus'

/** The body that our own clients send. */
export function encodeHandshake(
  regions: readonly RegionToSend[],
  pageSize: number,
  dialect: HandshakeDialect = 'firecracker',
): string {
  const list = regions
    .map(
      (r) =>
        `{"base_host_virt_addr":${r.base},"size":${r.bytes},"offset":${r.offset},` +
        `"page_size":${pageSize},"page_size_kib":${pageSize}}`,
    )
    .join(',')
  switch (dialect) {
    case 'firecracker':
      return `[${list}]`
    case 'mappings':
      return `{"mappings":[${list}]}`
    case 'nydus':
      return `{"type":0,"regions":[${list}],"policy":1,"enable_prefault":false}`
  }
}

/** Marks a string that stands for a number of the text. A real string may begin so, too, and is then read as one. */
const NUMBER_MARK = '\u0000'
/** JSON.parse is exact below this many digits. User space of today's machines ends there, so bodies rarely have more. */
const LONG_NUMBER = /\d{16}/
/** A string; or a long whole number; or a quote that opens a string without end. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\s*:)|"/g
const LONG_WHOLE_NUMBER = /^[1-9]\d{15,}$/

/** JSON.parse, but a long whole number comes out as its text after NUMBER_MARK. Accepts exactly what JSON.parse accepts. */
function parseExact(text: string): unknown {
  try {
    return JSON.parse(LONG_NUMBER.test(text) ? text.replace(TOKEN, markLongNumber) : text)
  } catch {
    throw handshakeError('the body is not JSON')
  }
}

function markLongNumber(token: string): string {
  if (token === '"') throw handshakeError('the body is not JSON')
  return LONG_WHOLE_NUMBER.test(token) ? `"\\u0000${token}"` : token
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function regionList(body: unknown): unknown[] {
  if (Array.isArray(body)) return body
  if (isObject(body)) {
    if ('type' in body && body.type !== 0) {
      throw handshakeError('its message type is not 0, the handshake')
    }
    const list = body.mappings ?? body.regions
    if (Array.isArray(list)) return list
  }
  throw handshakeError('it holds no list of regions')
}

function pageSizeOf(item: unknown, index: number): number {
  if (!isObject(item)) throw handshakeError(`region ${index} is not an object`)
  // Both spellings hold bytes. Firecracker before 1.8 named neither and had 4 KiB pages only.
  const name = 'page_size' in item ? 'page_size' : 'page_size_kib'
  if (!(name in item)) return PAGE_SIZES[0] as number
  const size = Number(integer(item, name, index))
  if (!PAGE_SIZES.includes(size)) {
    throw handshakeError(`region ${index} has ${name} ${size}, not ${PAGE_SIZES.join(', ')} (bytes)`)
  }
  return size
}

function regionOf(item: unknown, index: number, pageSize: number, imageBytes: number): ClientRegion {
  const fields = item as Record<string, unknown>
  const base = integer(fields, 'base_host_virt_addr', index)
  const bytes = integer(fields, 'size', index)
  const offset = integer(fields, 'offset', index)
  if (bytes === 0n) throw handshakeError(`region ${index} is empty`)
  refuseUnaligned('base_host_virt_addr', base, pageSize, index)
  refuseUnaligned('size', bytes, pageSize, index)
  refuseUnaligned('offset', offset, pageSize, index)
  if (base + bytes > U64_END) throw handshakeError(`region ${index} ends beyond the 64-bit address space`)
  if (offset + bytes > BigInt(imageBytes)) {
    throw handshakeError(
      `region ${index} (offset ${offset}, ${bytes} bytes) leaves the image of ${imageBytes} bytes`,
    )
  }
  return {
    base,
    baseHi: Number(base >> 32n),
    baseLo: Number(base & 0xffff_ffffn),
    bytes: Number(bytes),
    offset: Number(offset),
  }
}

function refuseUnaligned(name: string, value: bigint, pageSize: number, index: number): void {
  if (value % BigInt(pageSize) === 0n) return
  throw handshakeError(`region ${index} has ${name} ${value}, not a multiple of its page size ${pageSize}`)
}

function integer(fields: Record<string, unknown>, name: string, index: number): bigint {
  const value = fields[name]
  let number = -1n
  if (typeof value === 'number' && Number.isSafeInteger(value)) number = BigInt(value)
  else if (typeof value === 'string' && /^\d+$/.test(value.slice(1)) && value.startsWith(NUMBER_MARK)) {
    number = value.length > 1 + U64_DIGITS ? U64_END : BigInt(value.slice(1))
  }
  if (number < 0n) throw handshakeError(`region ${index} has no whole number ${name}`)
  if (number >= U64_END) throw handshakeError(`region ${index} has a ${name} beyond 64 bits`)
  return number
}

function refuseOverlap(
  regions: readonly ClientRegion[],
  where: string,
  start: (region: ClientRegion) => bigint,
): void {
  const order = regions.map((region, index) => ({
    index,
    start: start(region),
    end: start(region) + BigInt(region.bytes),
  }))
  order.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  for (let i = 1; i < order.length; i++) {
    const [before, after] = [order[i - 1], order[i]]
    if (before && after && before.end > after.start) {
      throw handshakeError(`regions ${before.index} and ${after.index} overlap in ${where}`)
    }
  }
}
