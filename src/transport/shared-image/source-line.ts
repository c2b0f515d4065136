/** The silent connection to the source: its end is how a channel learns that the source has gone. Owned by the channel. */
import { FaultlaneError } from '../../errors.ts'
import { ERRNO, errnoName, MSG } from '../../native/abi.ts'
import { NativeBuffer } from '../../native/buffer.ts'
import { type Libc, libc } from '../../native/libc.ts'
import type { Lane } from '../transport.ts'

export class SourceLine {
  /** −1 once closed. */
  fd: number
  readonly #libc: Libc = libc()
  readonly #url: string
  readonly #lane: Lane
  readonly #peeked = new NativeBuffer(8)

  /** Takes the socket over. */
  constructor(url: string, lane: Lane, socket: number) {
    this.#url = url
    this.#lane = lane
    this.fd = socket
  }

  /** What to throw when the source has gone, or talks where it should be silent. */
  look(inFlight: number): FaultlaneError | undefined {
    const got = this.#libc.recv(this.fd, this.#peeked.address, 1, MSG.PEEK | MSG.DONTWAIT)
    if (got === 0) return this.closed('the source closed the connection', inFlight)
    if (got < 0) {
      const errno = this.#libc.errno()
      if (errno === ERRNO.EAGAIN || errno === ERRNO.EINTR) return undefined
      return this.closed(`recv failed with ${errnoName(errno)}`, inFlight)
    }
    return new FaultlaneError({
      code: 'PROTOCOL',
      peer: `the source at ${this.#url}`,
      got: 'bytes after its welcome',
      expected: 'silence',
    })
  }

  closed(reason: string, inFlight: number): FaultlaneError {
    const channel = `${this.#lane} to ${this.#url}`
    return new FaultlaneError({ code: 'CHANNEL_CLOSED', channel, reason, inFlight })
  }

  close(): void {
    if (this.fd >= 0) this.#libc.close(this.fd)
    this.fd = -1
  }
}
