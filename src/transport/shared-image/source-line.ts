/**
 * The connection to the source once a lane is open: its end is how a channel learns that the source has gone, and the other
 * way round. Owned by the channel.
 */
import { FaultlaneError } from '../../errors.ts'
import { ERRNO, errnoName, MSG } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import { removeDeadSocket } from '../../native/unix-socket.ts'
import type { Lane, SocketFile } from '../transport.ts'
import type { Greeted } from './greet.ts'
import { encodeNotice } from './notice.ts'
import { NOTICE_BYTES } from './wire.ts'

export class SourceLine {
  /** −1 once closed. */
  fd: number
  readonly #libc: Libc = libc()
  readonly #url: string
  readonly #lane: Lane
  readonly #peeked = new NativeBuffer(8)
  readonly #path: string
  readonly #listener: string | undefined
  /** The source believes that our end leaves a file behind. */
  #hasTold = false

  /** Takes the greeted socket over. */
  constructor(url: string, lane: Lane, greeted: Greeted) {
    this.#url = url
    this.#lane = lane
    this.fd = greeted.socket
    this.#path = greeted.path
    this.#listener = greeted.listener
  }

  /** What to throw when the source has gone, or talks where it should be silent. */
  look(inFlight: number): FaultlaneError | undefined {
    const got = this.#libc.recv(this.fd, this.#peeked.address, 1, MSG.PEEK | MSG.DONTWAIT)
    if (got === 0) return this.#lost('the source closed the connection', inFlight)
    if (got < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return undefined
      return this.#lost(`recv failed with ${errnoName(errno)}`, inFlight)
    }
    return new FaultlaneError({
      code: 'PROTOCOL',
      peer: `the source at ${this.#url}`,
      got: 'bytes after its welcome',
      expected: 'silence',
    })
  }

  /** A source that was killed leaves its socket's file behind: we are the one who is left to remove it. */
  #lost(reason: string, inFlight: number): FaultlaneError {
    removeDeadSocket(this.#path, this.#listener)
    return this.closed(reason, inFlight)
  }

  /** See Channel.tellSocketFile(); a source that does not take it has gone, which the next look finds. */
  tell(file: SocketFile | undefined): void {
    if (this.fd < 0) return
    const notice = encodeNotice(file)
    this.#libc.send(this.fd, notice.address, NOTICE_BYTES, MSG.NOSIGNAL | MSG.DONTWAIT)
    this.#hasTold = file !== undefined
  }

  closed(reason: string, inFlight: number): FaultlaneError {
    const channel = `${this.#lane} to ${this.#url}`
    return new FaultlaneError({ code: 'CHANNEL_CLOSED', channel, reason, inFlight })
  }

  close(): void {
    if (this.#hasTold) this.tell(undefined) // An end in order: whoever listens does not die with this line.
    if (this.fd >= 0) this.#libc.close(this.fd)
    this.fd = -1
  }
}
