/**
 * A figure that a NIC preset stands on, with where it comes from. Nothing is printed without its origin:
 *   V      read in the published table        D      derived from such, the arithmetic in the note
 *   R      recalled, not re-checked           guess  nobody published it; an estimate and printed as one
 */
export type Origin = 'V' | 'D' | 'R' | 'guess'

export interface Figure {
  readonly value: number
  readonly origin: Origin
  readonly note: string
}

export const published = (value: number, note: string): Figure => ({ value, origin: 'V', note })
export const derived = (value: number, note: string): Figure => ({ value, origin: 'D', note })
export const recalled = (value: number, note: string): Figure => ({ value, origin: 'R', note })
export const guess = (value: number, note: string): Figure => ({ value, origin: 'guess', note })

/**
 * What is known of one NIC. Times in ns, rates in ns per byte; latencies are what perftest prints, so a WRITE
 * or SEND is half a round trip and a READ or atomic the whole operation.
 */
export interface NicFigures {
  readonly lineGbps: Figure
  readonly mtu: Figure
  /** The first so many bytes pass each stage whole before the next begins (m of the latency formula). */
  readonly chunkBytes: Figure
  /** READ of no byte (t0), and ns per byte of all stages together (S). */
  readonly readBase: Figure
  readonly stagesPerByte: Figure
  /** Two stages by name, the slower is B; the rest of S is PCIe write and what has no name, and delays only the first chunk. */
  readonly wirePerByte: Figure
  readonly pcieReadPerByte: Figure
  /** PCIe read of a message's first 64 KiB, where it is slower than later. */
  readonly pcieReadFirstPerByte: Figure
  /** WRITE of no byte, inlined; what fetching the payload adds when it is not; what a SEND's completion adds. */
  readonly writeBase: Figure
  readonly fetchStep: Figure
  readonly sendExtra: Figure
  readonly atomicBase: Figure
  /**
   * Time that one queue pair needs per message whatever its latency: max(min, base + perByte × bytes, cap × bytes).
   * A cap of 0: the wire is the limit.
   */
  readonly readGapMin: Figure
  readonly readGapBase: Figure
  readonly readGapPerByte: Figure
  readonly readCapPerByte: Figure
  readonly writeGapMin: Figure
  readonly writeCapPerByte: Figure
  readonly atomicGap: Figure
  /** Bytes of one queue pair that stand in the send FIFO of its class (Q). */
  readonly burstBytes: Figure
  /** The engine that all queue pairs share: time per message, and what a message pays that finds it serving others. */
  readonly engine: Figure
  readonly contention: Figure
  /** One switch on the way, one way. The other figures are of two NICs back to back. */
  readonly switchHop: Figure
  /** What the host adds to a latency at the 99th and the 99.9th percentile. */
  readonly tail99: Figure
  readonly tail999: Figure
}
