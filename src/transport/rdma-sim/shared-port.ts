/**
 * The way out of the source's NIC as all its readers see it. Every lane of every destination runs a fabric of its
 * own, in its own thread; what they share is the wire on which READ data leaves the source. Two words in a memfd
 * that the source hands out say until when that wire is taken, one for each priority, in ns of the host's clock
 * modulo 2^32. They are changed by compare-exchange only; nobody waits for anybody, and who dies leaves a time
 * that passes.
 *
 * What is modelled between fabrics, packet by packet: a demand packet waits for the demand packets before it and
 * for the rest of at most one bulk packet; the further packets of a burst follow without a gap, and bulk that had
 * reserved their time goes behind them. A bulk packet waits for all that is reserved. What is not: the order among
 * lanes that are handled late by their hosts (who is behind the clock finds the wire free of what has passed), the
 * shared engine, and the destination's own way out, which carries requests of 42 bytes.
 */
import { FaultlaneError } from '../../errors.ts'
import { FCNTL, MAP, MFD, PROT, SEAL } from '../../native/abi.ts'
import { check, libc, viewOf } from '../../native/libc.ts'
import type { SharedWire } from './egress-port.ts'

const PORT_BYTES = 4096
const DEMAND_UNTIL = 0
const BULK_UNTIL = 32 // A cache line of its own: each lane writes one and reads both.
/** The source's NIC by name, ended by a zero. */
const NAME_AT = 1024
const NAME_BYTES = 64
/**
 * So many packets may be reserved ahead of the clock: each fabric reserves one at a time. A word that says more is
 * a time long past, seen again after the 4.3 s in which it comes round; it costs one packet so much at most.
 */
const PACKETS_AHEAD_MAX = 256

/** Memory of a port, for the source to hand out; the descriptor is the caller's. */
export function createPort(nic: string): number {
  const c = libc()
  const about = 'the port of the emulated NIC'
  const fd = check(c.memfd_create('faultlane-port', MFD.CLOEXEC | MFD.ALLOW_SEALING), 'memfd_create', about)
  try {
    check(c.ftruncate(fd, PORT_BYTES), 'ftruncate', about)
    const address = mapPort(fd)
    new Uint8Array(viewOf(address, PORT_BYTES)).set(Buffer.from(nic), NAME_AT)
    c.munmap(address, PORT_BYTES)
    check(c.fcntl(fd, FCNTL.ADD_SEALS, SEAL.SEAL | SEAL.SHRINK | SEAL.GROW), 'fcntl', about)
    return fd
  } catch (error) {
    c.close(fd)
    throw error
  }
}

/** How a fabric's picoseconds lie on the host's clock. */
export interface ModelTime {
  readonly originNs: number
  readonly dilation: number
}

export class SharedPort implements SharedWire {
  /** The source's NIC. */
  readonly nic: string
  readonly #address: number
  readonly #words: Int32Array
  readonly #own: number
  #time: ModelTime = { originNs: 0, dilation: 1 }
  #aheadNsMax = 0
  #packetNs = 0
  #endPs = -1

  /** Maps the port; the descriptor stays the caller's. */
  constructor(fd: number, isDemand: boolean, peer: string) {
    const seals = libc().fcntl(fd, FCNTL.GET_SEALS, 0)
    // Sealed against shrinking and of full size: touching it cannot kill us.
    if (seals < 0 || (seals & SEAL.SHRINK) === 0 || libc().lseek(fd, 0, 2) !== PORT_BYTES)
      throw new FaultlaneError({
        code: 'PROTOCOL',
        peer,
        got: 'another descriptor',
        expected: 'the port of its NIC',
      })
    this.#address = mapPort(fd)
    const memory = viewOf(this.#address, PORT_BYTES)
    this.#words = new Int32Array(memory)
    this.#own = isDemand ? DEMAND_UNTIL : BULK_UNTIL
    const name = new Uint8Array(memory, NAME_AT, NAME_BYTES)
    const end = name.indexOf(0)
    this.nic = Buffer.from(name.slice(0, end < 0 ? NAME_BYTES : end)).toString()
  }

  /** @param packetPs the longest packet on the wire */
  setTime(time: ModelTime, packetPs: number): void {
    this.#time = time
    this.#packetNs = Math.ceil((packetPs * time.dilation) / 1000)
    this.#aheadNsMax = PACKETS_AHEAD_MAX * this.#packetNs
  }

  reserve(nowPs: number, wirePs: number): number {
    const { originNs, dilation } = this.#time
    const words = this.#words
    const own = this.#own
    const now = (originNs + (nowPs * dilation) / 1000) | 0
    const wireNs = Math.ceil((wirePs * dilation) / 1000)
    const isDemand = own === DEMAND_UNTIL
    // Our last packet ends now: the arbiter would not have let bulk in between.
    const bulkNsMax = !isDemand ? this.#aheadNsMax : nowPs === this.#endPs ? 0 : this.#packetNs
    let waitNs = 0
    let bulkNs = 0
    for (;;) {
      const seen = Atomics.load(words, own)
      bulkNs = this.#ahead(Atomics.load(words, BULK_UNTIL), now)
      waitNs = Math.max(this.#ahead(Atomics.load(words, DEMAND_UNTIL), now), Math.min(bulkNs, bulkNsMax))
      if (Atomics.compareExchange(words, own, seen, (now + waitNs + wireNs) | 0) === seen) break
    }
    if (isDemand && bulkNs > waitNs) Atomics.add(words, BULK_UNTIL, wireNs)
    const startPs = nowPs + Math.floor((waitNs * 1000) / dilation)
    this.#endPs = startPs + wirePs
    return startPs
  }

  close(): void {
    libc().munmap(this.#address, PORT_BYTES)
  }

  #ahead(until: number, now: number): number {
    const ahead = (until - now) | 0
    return ahead > 0 && ahead <= this.#aheadNsMax ? ahead : 0
  }
}

function mapPort(fd: number): number {
  const prot = PROT.READ | PROT.WRITE
  return check(libc().mmap(0, PORT_BYTES, prot, MAP.SHARED, fd, 0), 'mmap', 'the port of the emulated NIC')
}
