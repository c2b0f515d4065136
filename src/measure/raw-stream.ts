/**
 * The yardstick of a prefault rate: one TCP stream, one way, between two plain processes that do nothing else. Through
 * our own sockets: 256 MiB at a median of 2068 MB/s on two cores, where Node's `net` moved 1984 in turns with it. Each end runs in a process of its own (`bench stream-…`).
 */
import { FaultlaneError } from '../errors.ts'
import { MSG, POLL, SOCK } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'
import { PollSet } from '../native/poll-set.ts'
import { dialTcp, formatTcpUrl, listenTcp, parseTcpUrl, tuneSocket } from '../native/socket.ts'
import { Child, type Program } from './child.ts'

/** Bytes of one send or recv: where more no longer helps on loopback. */
const CHUNK_BYTES = 256 * 1024
const WAIT_MS_MAX = 5000
const STREAM_MS_MAX = 60_000

/** MB/s of the stream as its receiver sees it, from dialling to the last byte. */
export async function rawStreamMbPerS(faultlane: Program, bytes: number): Promise<number> {
  const source = new Child('the sender of the raw stream', faultlane, [
    'bench',
    'stream-source',
    String(bytes),
  ])
  try {
    const [, url] = await source.said(/^ready (\S+)/)
    const sink = new Child('the receiver of the raw stream', faultlane, [
      'bench',
      'stream-sink',
      url!,
      String(bytes),
    ])
    try {
      return Number(await sink.nextLine(STREAM_MS_MAX))
    } finally {
      await sink.stop()
    }
  } finally {
    await source.stop()
  }
}

/** Accepts one connection and sends `bytes` on it. */
export function runStreamSource(bytes: number, onReady: (url: string) => void): void {
  const c = libc()
  const { fd: listener, address } = listenTcp({ host: '127.0.0.1', port: 0 })
  onReady(formatTcpUrl(address))
  waitFor(listener, POLL.IN, STREAM_MS_MAX)
  const fd = check(c.accept4(listener, 0, 0, SOCK.NONBLOCK | SOCK.CLOEXEC), 'accept4', 'raw stream')
  tuneSocket(fd, {})
  const chunk = new NativeBuffer(CHUNK_BYTES, 4096)
  chunk.u8.fill(1)
  for (let sent = 0; sent < bytes; ) {
    const now = c.send(fd, chunk.address, Math.min(CHUNK_BYTES, bytes - sent), MSG.NOSIGNAL)
    if (now > 0) sent += now
    else waitFor(fd, POLL.OUT, WAIT_MS_MAX)
  }
  c.close(fd)
  c.close(listener)
}

/** Receives `bytes`; the rate in MB/s. */
export function runStreamSink(url: string, bytes: number): number {
  const c = libc()
  const chunk = new NativeBuffer(CHUNK_BYTES, 4096)
  chunk.u8.fill(0)
  const startedMs = performance.now()
  const fd = dialTcp(parseTcpUrl(url), WAIT_MS_MAX)
  for (let received = 0; received < bytes; ) {
    const now = c.recv(fd, chunk.address, CHUNK_BYTES, 0)
    if (now > 0) received += now
    else if (now === 0) throw broken('it ended early', received)
    else waitFor(fd, POLL.IN, WAIT_MS_MAX)
  }
  const ms = performance.now() - startedMs
  c.close(fd)
  return bytes / 1000 / ms
}

function waitFor(fd: number, events: number, timeoutMs: number): void {
  const poll = new PollSet(1)
  poll.set(0, fd, events)
  if (poll.wait(timeoutMs) === 0) throw broken(`nothing moved for ${timeoutMs} ms`, 0)
}

function broken(reason: string, inFlight: number): FaultlaneError {
  return new FaultlaneError({ code: 'CHANNEL_CLOSED', channel: 'raw stream', reason, inFlight })
}
