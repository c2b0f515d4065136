/**
 * Two terms of docs/guarantee.md alone: how long the source hands one quantum of bulk to the kernel (Q), and how long
 * the kernel takes to place the longest prefault read (P). One thread, nobody else wanted: `node
 * dist-bench/bench/guarantee-terms.js [--smoke]`.
 */
import { cpus } from 'node:os'
import { monotonicClock } from '../src/clock.ts'
import { BULK_QUANTUM_BYTES, PREFAULT_READ_PAGES_MAX } from '../src/config.ts'
import { Userfaultfd } from '../src/fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../src/fault/userfaultfd-open.ts'
import { MAP, MSG, PROT, SOCK } from '../src/native/abi.ts'
import { NativeBuffer } from '../src/native/buffer.ts'
import { check, libc } from '../src/native/libc.ts'
import { dialTcp, listenTcp, tuneSocket } from '../src/native/socket.ts'

const PAGE_BYTES = 4096
/** Before the figures count: the interpreter and cold caches are not what a running source has. */
const WARM_UP = 500

const rounds = process.argv.includes('--smoke') ? 20 : 5000

function measure(once: () => void, after: () => void): string {
  const us = new Float64Array(rounds)
  for (let i = -Math.min(rounds, WARM_UP); i < rounds; i++) {
    const startNs = monotonicClock.nowNs()
    once()
    if (i >= 0) us[i] = (monotonicClock.nowNs() - startNs) / 1000
    after()
  }
  us.sort()
  const at = (share: number) => us[Math.min(rounds - 1, Math.floor(share * rounds))]?.toFixed(1)
  return `p50 ${at(0.5)} µs, p99 ${at(0.99)} µs`
}

function quantum(): string {
  const c = libc()
  const { fd: listener, address } = listenTcp({ host: '127.0.0.1', port: 0 })
  const receiver = dialTcp(address, 1000)
  const sender = check(c.accept4(listener, 0, 0, SOCK.NONBLOCK | SOCK.CLOEXEC), 'accept4', 'loopback')
  tuneSocket(sender, {})
  const bytes = new NativeBuffer(BULK_QUANTUM_BYTES, PAGE_BYTES)
  let owed = 0
  const text = measure(
    () => {
      owed = Math.max(0, c.send(sender, bytes.address, BULK_QUANTUM_BYTES, MSG.NOSIGNAL))
    },
    () => {
      while (owed > 0) owed -= Math.max(0, c.recv(receiver, bytes.address, BULK_QUANTUM_BYTES, 0))
    },
  )
  for (const fd of [listener, receiver, sender]) c.close(fd)
  return text
}

function placing(): string {
  const c = libc()
  const runBytes = PREFAULT_READ_PAGES_MAX * PAGE_BYTES
  const bytes = (rounds + WARM_UP) * runBytes
  const address = check(
    c.mmap(0, bytes, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE, -1, 0),
    'mmap',
    'memory to place into',
  )
  const { fd, how } = openUserfaultfd()
  registerMissing(fd, address, bytes)
  const uffd = new Userfaultfd(fd)
  const from = new NativeBuffer(runBytes, PAGE_BYTES)
  let to = address
  const text = measure(
    () => {
      uffd.copy(Math.floor(to / 0x1_0000_0000), to >>> 0, from.address, runBytes)
    },
    () => {
      to += runBytes
    },
  )
  c.close(fd)
  c.munmap(address, bytes)
  return `${text} (userfaultfd: ${how})`
}

console.log(`${rounds} rounds, ${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}`)
console.log(`Q  ${BULK_QUANTUM_BYTES} bytes handed to a loopback TCP socket: ${quantum()}`)
console.log(`P  ${PREFAULT_READ_PAGES_MAX} pages in one UFFDIO_COPY:              ${placing()}`)
