/** TCP sockets by raw system calls: addresses, options, dial and listen. Control path, except nothing. */
import { isIPv4, isIPv6 } from 'node:net'
import { FaultlaneError } from '../errors.ts'
import {
  AF,
  ERRNO,
  errnoName,
  IP_TOS,
  IPPROTO_IP,
  IPPROTO_TCP,
  POLL,
  SO,
  SOCK,
  SOL_SOCKET,
  TCP,
} from './abi.ts'
import { NativeBuffer } from './buffer.ts'
import { check, libc, systemError } from './libc.ts'
import { PollSet } from './poll-set.ts'

export interface TcpAddress {
  readonly host: string
  readonly port: number
}

/** `tcp://HOST:PORT` with a literal address (or localhost); names are resolved before they come here. */
export function parseTcpUrl(url: string): TcpAddress {
  const match = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]]+)):(\d{1,5})$/.exec(url)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (!host || port > 65535) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'TCP address',
      got: url,
      expected: 'tcp://HOST:PORT',
    })
  }
  return { host: host === 'localhost' ? '127.0.0.1' : host, port }
}

export function formatTcpUrl(address: TcpAddress): string {
  return `tcp://${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`
}

function encodeAddress({ host, port }: TcpAddress): { buffer: NativeBuffer; bytes: number; family: number } {
  const buffer = new NativeBuffer(32)
  const view = new DataView(buffer.buffer, buffer.u8.byteOffset, 32)
  if (isIPv4(host)) {
    view.setUint16(0, AF.INET, true)
    view.setUint16(2, port)
    host.split('.').forEach((part, i) => {
      view.setUint8(4 + i, Number(part))
    })
    return { buffer, bytes: 16, family: AF.INET }
  }
  if (isIPv6(host)) {
    view.setUint16(0, AF.INET6, true)
    view.setUint16(2, port)
    expandIPv6(host).forEach((group, i) => {
      view.setUint16(8 + 2 * i, group)
    })
    return { buffer, bytes: 28, family: AF.INET6 }
  }
  throw new FaultlaneError({
    code: 'BAD_ARGUMENT',
    what: 'host',
    got: host,
    expected: 'an IPv4 or IPv6 address',
  })
}

function expandIPv6(host: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host)
  let text = host
  if (dotted) {
    const [, head, a, b, c, d] = dotted as unknown as string[]
    text = `${head}${((Number(a) << 8) | Number(b)).toString(16)}:${((Number(c) << 8) | Number(d)).toString(16)}`
  }
  const [left = '', right] = text.split('::')
  const groups = (part: string) =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  if (right === undefined) return groups(left)
  const tail = groups(right)
  const head = groups(left)
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

export function setSocketOption(fd: number, level: number, option: number, value: number): number {
  const word = new NativeBuffer(8)
  word.i32[0] = value
  return libc().setsockopt(fd, level, option, word.address, 4)
}

export function getSocketOption(fd: number, level: number, option: number): number {
  const word = new NativeBuffer(16)
  word.i32[2] = 4
  check(libc().getsockopt(fd, level, option, word.address, word.address + 8), 'getsockopt', `socket ${fd}`)
  return word.i32[0] as number
}

/** What a lane's connection asks of the kernel. Where an option is refused (rights, old kernel), it is left out. */
export interface SocketTuning {
  /** SO_PRIORITY, 0 to 6 without privilege. */
  readonly priority?: number
  /** IP_TOS byte: DSCP in the upper six bits. */
  readonly tos?: number
  /** Bytes of SO_SNDBUF; 0: the kernel's own choice. */
  readonly sendBufferBytes?: number
  /** TCP_NOTSENT_LOWAT bytes; 0: none. */
  readonly notSentLowBytes?: number
  /** SO_MAX_PACING_RATE bytes per second; 0: none. */
  readonly pacingBytesPerSecond?: number
  /** TCP_CONGESTION, e.g. 'reno'. */
  readonly congestion?: string
}

export function tuneSocket(fd: number, tuning: SocketTuning): void {
  setSocketOption(fd, IPPROTO_TCP, TCP.NODELAY, 1)
  // In this order: IP_TOS sets the priority anew, to what the kernel thinks of the TOS.
  if (tuning.tos) setSocketOption(fd, IPPROTO_IP, IP_TOS, tuning.tos)
  if (tuning.priority) setSocketOption(fd, SOL_SOCKET, SO.PRIORITY, tuning.priority)
  if (tuning.sendBufferBytes) setSocketOption(fd, SOL_SOCKET, SO.SNDBUF, tuning.sendBufferBytes)
  if (tuning.notSentLowBytes) setSocketOption(fd, IPPROTO_TCP, TCP.NOTSENT_LOWAT, tuning.notSentLowBytes)
  if (tuning.congestion) {
    const name = new NativeBuffer(16)
    name.u8.set(Buffer.from(tuning.congestion))
    libc().setsockopt(fd, IPPROTO_TCP, TCP.CONGESTION, name.address, tuning.congestion.length)
  }
  if (tuning.pacingBytesPerSecond) {
    setSocketOption(fd, SOL_SOCKET, SO.MAX_PACING_RATE, Math.min(tuning.pacingBytesPerSecond, 0x7fff_ffff))
  }
}

/** Listens; the address that comes back has the port that was really bound. Throws ADDRESS_IN_USE. */
export function listenTcp(address: TcpAddress): { fd: number; address: TcpAddress } {
  const c = libc()
  const { buffer, bytes, family } = encodeAddress(address)
  const url = formatTcpUrl(address)
  const fd = check(c.socket(family, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC, 0), 'socket', url)
  setSocketOption(fd, SOL_SOCKET, SO.REUSEADDR, 1)
  if (c.bind(fd, buffer.address, bytes) !== 0 || c.listen(fd, 64) !== 0) {
    const errno = c.errno()
    c.close(fd)
    if (errno === ERRNO.EADDRINUSE) {
      throw new FaultlaneError({
        code: 'ADDRESS_IN_USE',
        url,
        hint: 'another process listens there; choose another port, or 0 for a free one',
      })
    }
    throw systemError('bind', url, errno)
  }
  const name = new NativeBuffer(40)
  name.i32[8] = 32
  check(c.getsockname(fd, name.address, name.address + 32), 'getsockname', url)
  const port = ((name.u8[2] as number) << 8) | (name.u8[3] as number)
  return { fd, address: { host: address.host, port } }
}

/** Connects within `timeoutMs`; the socket that comes back never blocks. Throws CONNECT_FAILED. */
export function dialTcp(address: TcpAddress, timeoutMs: number): number {
  const c = libc()
  const { buffer, bytes, family } = encodeAddress(address)
  const url = formatTcpUrl(address)
  const fd = check(c.socket(family, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC, 0), 'socket', url)
  let errno = c.connect(fd, buffer.address, bytes) === 0 ? 0 : c.errno()
  if (errno === ERRNO.EINPROGRESS) {
    const poll = new PollSet(1)
    poll.set(0, fd, POLL.OUT)
    errno = poll.wait(timeoutMs) > 0 ? getSocketOption(fd, SOL_SOCKET, SO.ERROR) : ERRNO.ETIMEDOUT
  }
  if (errno !== 0) {
    c.close(fd)
    throw new FaultlaneError({ code: 'CONNECT_FAILED', url, reason: errnoName(errno) })
  }
  return fd
}
