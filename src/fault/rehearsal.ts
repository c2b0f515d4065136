/**
 * A handshake with ourselves, on a socket pair and a scratch userfaultfd. A client waits for its first page from
 * the moment it has sent its handshake, and code that has never run takes about 2 ms for it.
 */
import { monotonicClock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import { AF, SOCK } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'
import { DescriptorMessages } from '../native/unix-socket.ts'
import { HandshakeReceiver } from './handshake.ts'
import { encodeHandshake } from './handshake-parse.ts'
import { openUserfaultfd } from './userfaultfd-open.ts'

/** Regions of the rehearsed body: enough for its loops to be compiled. */
const REGIONS = 32

/** Takes a handshake `times` times over. Does nothing where this process may not make a userfaultfd itself. */
export function rehearseHandshake(times: number): void {
  let userfaultfd: number
  try {
    userfaultfd = openUserfaultfd().fd
  } catch (error) {
    if (error instanceof FaultlaneError && error.code === 'NO_USERFAULTFD') return
    throw error
  }
  try {
    for (let i = 0; i < times; i++) rehearseOnce(userfaultfd)
  } finally {
    libc().close(userfaultfd)
  }
}

function rehearseOnce(userfaultfd: number): void {
  const regions = Array.from({ length: REGIONS }, (_, i) => ({
    base: 0x7f00_0000_0000n + BigInt(i) * 8192n,
    bytes: 4096,
    offset: i * 4096,
  }))
  const body = Buffer.from(encodeHandshake(regions, 4096))
  const buffer = new NativeBuffer(body.length)
  buffer.u8.set(body)
  const pair = new NativeBuffer(8)
  const type = SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC
  check(libc().socketpair(AF.UNIX, type, 0, pair.address), 'socketpair', 'rehearsal of a handshake')
  const receiver = new HandshakeReceiver(REGIONS * 4096, monotonicClock)
  receiver.begin(pair.i32[1] as number)
  try {
    new DescriptorMessages().send(pair.i32[0] as number, buffer.address, body.length, [userfaultfd])
    const handshake = receiver.step()
    if (handshake === 'waiting') return
    libc().close(handshake.userfaultfd)
    libc().close(handshake.socket)
  } finally {
    receiver.close()
    libc().close(pair.i32[0] as number)
  }
}
