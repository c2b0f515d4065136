/** A source that speaks the wire format as the test says, right or wrong: an image of pages full of 0xbb. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import {
  EXTENTS_UNKNOWN,
  FRAME,
  FRAME_BYTES,
  FRAME_MAGIC,
  HELLO,
  HELLO_BYTES,
  LANE_CODE,
  WELCOME,
  WELCOME_BYTES,
  WELCOME_MAGIC,
  WIRE_VERSION,
} from '../../src/transport/tcp/wire.ts'

export interface Request {
  readonly workId: number
  readonly firstPage: number
  readonly pageCount: number
}

export interface FakeSourceOptions {
  /** Words of the welcome that differ from the right ones. */
  readonly welcome?: Partial<Record<keyof typeof WELCOME, number>>
  /** Sent after the welcome of a describe connection. */
  readonly extents?: readonly number[]
  /** Bytes of the welcome that are sent before the connection closes. */
  readonly welcomeBytes?: number
  /** A lane whose hello is left without an answer. Default: none. */
  readonly silentLane?: number
  /** Answers the requests of a lane. Default: never. */
  readonly onRequest?: (socket: Socket, request: Request, lane: number) => void
}

export const FAKE_PAGES = 16

export class FakeSource {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Connections that asked for a lane, so far. */
  lanes = 0

  constructor(options: FakeSourceOptions = {}) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => {})
      let bytes = Buffer.alloc(0)
      let lane = 0
      socket.on('data', (data) => {
        bytes = Buffer.concat([bytes, data])
        if (lane === 0 && bytes.length >= HELLO_BYTES) {
          lane = bytes.readUInt32LE(HELLO.LANE * 4)
          if (lane !== LANE_CODE.describe) this.lanes++
          if (lane !== options.silentLane)
            welcome(socket, bytes.readUInt32LE(HELLO.PAGE_BYTES * 4), lane, options)
          bytes = bytes.subarray(HELLO_BYTES)
        }
        for (; lane !== 0 && bytes.length >= FRAME_BYTES; bytes = bytes.subarray(FRAME_BYTES)) {
          const word = (index: number) => bytes.readUInt32LE(index * 4)
          const request = {
            workId: word(FRAME.WORK_ID),
            firstPage: word(FRAME.FIRST_PAGE),
            pageCount: word(FRAME.PAGE_COUNT),
          }
          options.onRequest?.(socket, request, lane)
        }
      })
    })
  }

  async listen(port = 0): Promise<string> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return `tcp://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

function welcome(socket: Socket, pageBytes: number, lane: number, options: FakeSourceOptions): void {
  const words: Record<keyof typeof WELCOME, number> = {
    MAGIC: WELCOME_MAGIC,
    VERSION: WIRE_VERSION,
    STATUS: 0,
    PAGE_BYTES: pageBytes,
    IMAGE_LOW: 7,
    IMAGE_HIGH: 0,
    BYTES_LOW: FAKE_PAGES * pageBytes,
    BYTES_HIGH: 0,
    EXTENT_PAIRS:
      lane === LANE_CODE.describe && options.extents ? options.extents.length / 2 : EXTENTS_UNKNOWN,
    READ_PAGES_MAX: 32,
    CREDITS: 256,
    ...options.welcome,
  }
  const bytes = Buffer.alloc(WELCOME_BYTES)
  for (const [name, value] of Object.entries(words))
    bytes.writeUInt32LE(value, WELCOME[name as keyof typeof WELCOME] * 4)
  if (options.welcomeBytes !== undefined) {
    socket.end(bytes.subarray(0, options.welcomeBytes))
    return
  }
  socket.write(bytes)
  if (lane === LANE_CODE.describe && options.extents)
    socket.write(Buffer.from(Uint32Array.from(options.extents).buffer))
}

export function frame(workId: number, firstPage: number, pageCount: number, tail = FRAME_MAGIC): Buffer {
  const bytes = Buffer.alloc(FRAME_BYTES)
  const words = {
    [FRAME.WORK_ID]: workId,
    [FRAME.FIRST_PAGE]: firstPage,
    [FRAME.PAGE_COUNT]: pageCount,
    [FRAME.KIND]: tail,
  }
  for (const [index, value] of Object.entries(words)) bytes.writeUInt32LE(value >>> 0, Number(index) * 4)
  return bytes
}

export const PAGE_OF_BB = Buffer.alloc(4096, 0xbb)
