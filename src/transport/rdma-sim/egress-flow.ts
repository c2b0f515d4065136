/**
 * What one queue pair has to send through a port, in order: messages that enter the port's FIFO packet by packet.
 * Owned by its EgressPort. The message ring doubles when it is full; what bounds it is the depth of the queue pair.
 *
 * Two cursors: `admit` is the next byte to enter the FIFO, `send` the next to leave it.
 */
export class EgressFlow {
  vl = 0
  /** Bytes of this flow that stand in the FIFO, the packet on the wire included. */
  inFifo = 0
  /** True while an event waits for the next packet to have been read from memory. */
  isWaiting = false
  /** Payload bytes of a packet. */
  mtu = 4096
  readonly burstBytes: number
  readonly isAnswers: boolean
  #bytes = new Float64Array(16)
  #readyPs = new Float64Array(16)
  #extraPs = new Float64Array(16)
  #tokens = new Float64Array(16)
  #isPaced = new Uint8Array(16)
  #tail = 0
  admit = 0
  admitOffset = 0
  send = 0
  sendOffset = 0

  constructor(burstBytes: number, isAnswers: boolean) {
    this.burstBytes = burstBytes
    this.isAnswers = isAnswers
  }

  get isEmpty(): boolean {
    return this.send === this.#tail
  }

  get hasMoreToAdmit(): boolean {
    return this.admit !== this.#tail
  }

  /** @param isPaced the bytes come over PCIe from `readyPs` on; else they are all there at `readyPs` */
  add(token: number, bytes: number, readyPs: number, isPaced: boolean): void {
    if (this.#tail - this.send === this.#tokens.length) this.#grow()
    const at = this.#tail & (this.#tokens.length - 1)
    this.#tokens[at] = token
    this.#bytes[at] = bytes
    this.#readyPs[at] = readyPs
    this.#extraPs[at] = 0
    this.#isPaced[at] = isPaced ? 1 : 0
    this.#tail++
  }

  bytesOf(message: number): number {
    return this.#bytes[message & (this.#tokens.length - 1)]!
  }
  readyPsOf(message: number): number {
    return this.#readyPs[message & (this.#tokens.length - 1)]!
  }
  isPacedOf(message: number): boolean {
    return this.#isPaced[message & (this.#tokens.length - 1)] === 1
  }
  tokenOf(message: number): number {
    return this.#tokens[message & (this.#tokens.length - 1)]!
  }
  extraPsOf(message: number): number {
    return this.#extraPs[message & (this.#tokens.length - 1)]!
  }
  setExtraPs(message: number, extraPs: number): void {
    this.#extraPs[message & (this.#tokens.length - 1)] = extraPs
  }

  #grow(): void {
    const length = this.#tokens.length
    const old = [this.#bytes, this.#readyPs, this.#extraPs, this.#tokens, this.#isPaced] as const
    this.#bytes = new Float64Array(2 * length)
    this.#readyPs = new Float64Array(2 * length)
    this.#extraPs = new Float64Array(2 * length)
    this.#tokens = new Float64Array(2 * length)
    this.#isPaced = new Uint8Array(2 * length)
    for (let message = this.send; message < this.#tail; message++) {
      const from = message & (length - 1)
      const to = message & (2 * length - 1)
      this.#bytes[to] = old[0][from]!
      this.#readyPs[to] = old[1][from]!
      this.#extraPs[to] = old[2][from]!
      this.#tokens[to] = old[3][from]!
      this.#isPaced[to] = old[4][from]!
    }
  }
}
