/**
 * What goes over a Faultlane TCP connection. All integers little-endian; nothing is longer than it says.
 *
 *     hello   32 B  destination → source, once: magic, version, lane, page size, image id wanted (0: any)
 *     welcome 48 B  source → destination, once: magic, version, status, page size, image bytes, image id, then the
 *                   data extents (8 B a pair) when the hello asked to describe the image
 *     request 16 B  destination → source: work id, first page, pages
 *     reply   16 B  source → destination: work id, first page, pages, kind, then the content (kind CONTENT)
 *
 * One read may be answered by several replies that cover it exactly, in any order.
 */
export const WIRE_VERSION = 1
/** "FLN1" */
export const HELLO_MAGIC = 0x314e4c46
/** "FLNW" */
export const WELCOME_MAGIC = 0x574e4c46
/** Upper 24 bits of a request's or reply's last word: a stream out of step is noticed at the next frame. */
export const FRAME_MAGIC = 0x464c4e00

export const HELLO_BYTES = 32
export const WELCOME_BYTES = 48
export const FRAME_BYTES = 16

export const HELLO = { MAGIC: 0, VERSION: 1, LANE: 2, PAGE_BYTES: 3, IMAGE_LOW: 4, IMAGE_HIGH: 5 } as const
export const WELCOME = {
  MAGIC: 0,
  VERSION: 1,
  STATUS: 2,
  PAGE_BYTES: 3,
  IMAGE_LOW: 4,
  IMAGE_HIGH: 5,
  BYTES_LOW: 6,
  BYTES_HIGH: 7,
  EXTENT_PAIRS: 8,
  READ_PAGES_MAX: 9,
  CREDITS: 10,
} as const

export const STATUS = { OK: 0, BAD_VERSION: 1, BAD_PAGE_SIZE: 2, OTHER_IMAGE: 3, BAD_LANE: 4 } as const

export const LANE_CODE = { describe: 1, demand: 2, prefault: 3 } as const
/** EXTENT_PAIRS when the source does not know its holes. */
export const EXTENTS_UNKNOWN = 0xffff_ffff

/** Word offsets of a request or reply. */
export const FRAME = { WORK_ID: 0, FIRST_PAGE: 1, PAGE_COUNT: 2, KIND: 3 } as const
