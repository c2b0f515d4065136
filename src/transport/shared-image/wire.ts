/**
 * How a source shares its image with destinations on the same host, for the transports that read it there. Over the
 * socket goes one exchange when a lane opens, and notices after it. All integers little-endian.
 *
 *     hello   16 B  destination → source: magic, version, lane, page size
 *     welcome 48 B  source → destination: magic, version, status, page size, image bytes, image id, extent pairs;
 *                   with it come the image's descriptor (read-only) and, when the holes are known, that of a sealed
 *                   memfd with the extents: [first 4 KiB page, pages] pairs of u32; then what the transport adds
 *     notice 144 B  destination → source, demand lane, any number: magic, path bytes, device, inode and birth (ns, each
 *                   u64) of the socket's file that it leaves behind should it be killed, its absolute path; path bytes
 *                   0: none, or none any more. Who ends in order says so before it closes
 *
 * The socket then stays open and else silent: its end is how each side learns that the other has gone.
 */
import { FaultlaneError } from '../../errors.ts'

export const SHARE_VERSION = 2

/** Whose exchange it is: the ends of one transport do not talk to those of another. */
export interface ShareProtocol {
  readonly scheme: string
  readonly helloMagic: number
  readonly welcomeMagic: number
  /** Descriptors that come behind those of image and extents. */
  readonly extraFds: number
}

export const HELLO_BYTES = 16
export const WELCOME_BYTES = 48
export const NOTICE_BYTES = 144
export const NOTICE_MAGIC = 0x4e4f_4c46 // 'FLON'

export const HELLO = { MAGIC: 0, VERSION: 1, LANE: 2, PAGE_BYTES: 3 } as const
export const WELCOME = {
  MAGIC: 0,
  VERSION: 1,
  STATUS: 2,
  PAGE_BYTES: 3,
  BYTES_LOW: 4,
  BYTES_HIGH: 5,
  IMAGE_LOW: 6,
  IMAGE_HIGH: 7,
  EXTENT_PAIRS: 8,
} as const

/** Words; IDENTITY is three u64. */
export const NOTICE = { MAGIC: 0, PATH_BYTES: 1, IDENTITY: 2, PATH: 8 } as const

export const STATUS = { OK: 0, BAD_VERSION: 1, BAD_PAGE_SIZE: 2, BAD_LANE: 3 } as const
export const LANE_CODE = { describe: 1, demand: 2, prefault: 3 } as const

/** EXTENT_PAIRS when the source does not know its holes; the second descriptor is then left out. */
export const EXTENTS_UNKNOWN = 0xffff_ffff

/** The socket's path in `SCHEME:PATH`. Throws BAD_ARGUMENT when it is not such a URL. */
export function pathOfUrl(url: string, { scheme }: ShareProtocol): string {
  const path = url.startsWith(`${scheme}:`) ? url.slice(scheme.length + 1) : ''
  if (path !== '') return path
  throw new FaultlaneError({
    code: 'BAD_ARGUMENT',
    what: `${scheme} address`,
    got: url,
    expected: `${scheme}:PATH`,
  })
}
