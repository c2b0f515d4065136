/**
 * A preset turned into the stage times that the engine adds up, in integer picoseconds. The fixed part of each
 * published latency is split over doorbell, link, engine and host; only the sums are published, how they are
 * split is a guess that no figure depends on.
 *
 *   READ   post · request · link · engine · responder fetch │ pcieRead, wire │ link · host │ tail of first chunk
 *   WRITE  post · (payload fetch │ pcieRead) · wire · link · engine · place · tail of first chunk
 */
import type { NicFigures } from './nic-figures.ts'

/** Bytes of a packet that carries no payload: LRH 8, BTH 12, RETH 16 or AETH 4, ICRC 4, VCRC 2. */
export const CONTROL_BYTES = 42
/** Larger SEND and WRITE payloads are fetched over PCIe, as with perftest's default. */
export const INLINE_BYTES_MAX = 220
/** Bytes of a message during which the PCIe read may be slower. */
const FIRST_BYTES = 65536

export class NicModel {
  readonly mtu: number
  readonly chunkBytes: number
  readonly burstBytes: number
  readonly postPs: number
  readonly linkPs: number
  readonly enginePs: number
  readonly contentionPs: number
  /** From the engine to the first byte read from memory, at the responder of a READ. */
  readonly readFetchPs: number
  readonly atomicFetchPs: number
  /** From doorbell to the first byte read from memory, at the requester of a WRITE that is not inlined. */
  readonly writeFetchPs: number
  /** From the last byte in the NIC to its place in memory. */
  readonly placePs: number
  /** From the last byte in the NIC to the completion seen by the host. */
  readonly completePs: number
  readonly sendExtraPs: number
  readonly #f: NicFigures
  readonly #tailPerByte: number

  /** @param switchHops switches between this NIC and the others */
  constructor(figures: NicFigures, switchHops = 0) {
    const f = figures
    this.#f = f
    this.mtu = f.mtu.value
    this.chunkBytes = Math.max(f.chunkBytes.value, f.mtu.value)
    this.burstBytes = f.burstBytes.value
    const write = ps(f.writeBase.value)
    this.postPs = Math.floor(write * 0.45)
    const linkPs = Math.floor(write * 0.2)
    this.linkPs = linkPs + switchHops * ps(f.switchHop.value)
    this.enginePs = ps(f.engine.value)
    this.contentionPs = ps(f.contention.value)
    this.placePs = write - this.postPs - linkPs - this.enginePs
    this.completePs = this.placePs
    const roundTrip = this.postPs + this.wirePs(CONTROL_BYTES) + 2 * linkPs + this.enginePs + this.completePs
    this.readFetchPs = ps(f.readBase.value) - roundTrip
    this.atomicFetchPs = ps(f.atomicBase.value) - roundTrip - this.wirePs(CONTROL_BYTES)
    this.writeFetchPs = ps(f.fetchStep.value)
    this.sendExtraPs = ps(f.sendExtra.value)
    this.#tailPerByte = f.stagesPerByte.value - f.wirePerByte.value - f.pcieReadFirstPerByte.value
  }

  wirePs(bytes: number): number {
    return ps(bytes * this.#f.wirePerByte.value)
  }

  /** The same while several queue pairs compete: together they are not faster than one alone can be. */
  sharedWirePs(bytes: number, isAnswer: boolean): number {
    const cap = isAnswer ? this.#f.readCapPerByte.value : this.#f.writeCapPerByte.value
    return ps(bytes * Math.max(this.#f.wirePerByte.value, cap))
  }

  /** Until the first `bytes` of a message have been read over PCIe. */
  pcieReadPs(bytes: number): number {
    const first = Math.min(bytes, FIRST_BYTES)
    return ps(first * this.#f.pcieReadFirstPerByte.value + (bytes - first) * this.#f.pcieReadPerByte.value)
  }

  /** What storing the first chunk adds behind the wire: PCIe write, and stages that have no name. */
  tailPs(bytes: number): number {
    return ps(Math.min(bytes, this.chunkBytes) * this.#tailPerByte)
  }

  readGapPs(bytes: number): number {
    const f = this.#f
    const engine = f.readGapBase.value + f.readGapPerByte.value * bytes
    return ps(Math.max(f.readGapMin.value, engine, f.readCapPerByte.value * bytes))
  }

  writeGapPs(bytes: number): number {
    return ps(Math.max(this.#f.writeGapMin.value, this.#f.writeCapPerByte.value * bytes))
  }

  atomicGapPs(): number {
    return ps(this.#f.atomicGap.value)
  }
}

/** Addition, multiplication and floor are exact in IEEE 754, so every machine gets the same picoseconds. */
function ps(ns: number): number {
  return Math.floor(ns * 1000 + 0.5)
}
