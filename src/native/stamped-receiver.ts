/**
 * Receives from a socket and tells how long ago the kernel had the bytes: a reader that slept meanwhile can reckon as
 * if it had not. Owned by one thread. Where the kernel gives no time, it is now.
 */
import { CLOCK_REALTIME, CMSGHDR_BYTES, MSG, MSGHDR, SO, SOL_SOCKET } from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { type Libc, libc } from './libc.ts'
import { setSocketOption } from './socket.ts'

const TIMESPEC_BYTES = 16
const CONTROL_BYTES = 64
/** Of a struct cmsghdr, in words of 4 bytes: its type, and the time behind it as seconds and nanoseconds. */
const TYPE = 3
const SECONDS = CMSGHDR_BYTES >> 2
const NANOSECONDS = (CMSGHDR_BYTES + 8) >> 2
/** Older than this it is the clock that was set meanwhile. */
const AGE_NS_MAX = 1e9

export class StampedReceiver {
  /** Of the last bytes received. */
  ageNs = 0
  readonly #libc: Libc = libc()
  readonly #fd: number
  readonly #iov = new NativeBuffer(16)
  readonly #message = new NativeBuffer(MSGHDR.BYTES)
  readonly #control = new NativeBuffer(CONTROL_BYTES)
  readonly #now = new NativeBuffer(TIMESPEC_BYTES)

  constructor(fd: number) {
    this.#fd = fd
    setSocketOption(fd, SOL_SOCKET, SO.TIMESTAMPNS, 1)
    this.#message.setU64(MSGHDR.IOV, this.#iov.address)
    this.#message.setU64(MSGHDR.IOVLEN, 1)
    this.#message.setU64(MSGHDR.CONTROL, this.#control.address)
  }

  /** As recv(2), without waiting. */
  receive(address: number, bytes: number): number {
    this.#iov.setU64(0, address)
    this.#iov.setU64(8, bytes)
    this.#message.setU64(MSGHDR.CONTROLLEN, CONTROL_BYTES)
    this.#control.i32[TYPE] = 0
    const got = this.#libc.recvmsg(this.#fd, this.#message.address, MSG.DONTWAIT)
    if (got > 0) this.ageNs = this.#readAge()
    return got
  }

  #readAge(): number {
    const stamp = this.#control
    if (stamp.i32[TYPE] !== SO.TIMESTAMPNS) return 0
    this.#libc.clock_gettime(CLOCK_REALTIME, this.#now.address)
    // The seconds' lower words are enough for a difference.
    const seconds = ((this.#now.i32[0] as number) - (stamp.i32[SECONDS] as number)) | 0
    const ageNs = seconds * 1e9 + ((this.#now.i32[2] as number) - (stamp.i32[NANOSECONDS] as number))
    return ageNs >= 0 && ageNs < AGE_NS_MAX ? ageNs : 0
  }
}
