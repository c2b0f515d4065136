/**
 * What goes over a shm socket: one exchange when a lane opens, and nothing after it. All integers little-endian.
 *
 *     hello   16 B  destination → source: magic, version, lane, page size
 *     welcome 48 B  source → destination: magic, version, status, page size, image bytes, image id, extent pairs;
 *                   with it come the image's descriptor (read-only) and, when the holes are known, that of a sealed
 *                   memfd with the extents: [first 4 KiB page, pages] pairs of u32
 *
 * The socket then stays open and silent: its end is how each side learns that the other has gone.
 */
export const SHM_VERSION = 1
/** "FLS1" */
export const HELLO_MAGIC = 0x31534c46
/** "FLSW" */
export const WELCOME_MAGIC = 0x57534c46

export const HELLO_BYTES = 16
export const WELCOME_BYTES = 48

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

export const STATUS = { OK: 0, BAD_VERSION: 1, BAD_PAGE_SIZE: 2, BAD_LANE: 3 } as const
export const LANE_CODE = { describe: 1, demand: 2, prefault: 3 } as const

/** EXTENT_PAIRS when the source does not know its holes; the second descriptor is then left out. */
export const EXTENTS_UNKNOWN = 0xffff_ffff

const SCHEME = 'shm:'

/** The socket's path in `shm:PATH`; '' when it is not such a URL. */
export function pathOfShmUrl(url: string): string {
  return url.startsWith(SCHEME) ? url.slice(SCHEME.length) : ''
}
