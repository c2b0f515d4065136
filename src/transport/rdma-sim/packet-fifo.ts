/** The packets that wait on one virtual lane, first in first out: of each, its flow and its bytes. Doubles when full. */
export class PacketFifo {
  #flows = new Int32Array(64)
  #bytes = new Int32Array(64)
  #head = 0
  #tail = 0

  get isEmpty(): boolean {
    return this.#head === this.#tail
  }

  /** Of the oldest packet; 0 when there is none. */
  get headBytes(): number {
    return this.isEmpty ? 0 : this.#bytes[this.#head & (this.#flows.length - 1)]!
  }

  get headFlow(): number {
    return this.#flows[this.#head & (this.#flows.length - 1)]!
  }

  push(flow: number, bytes: number): void {
    if (this.#tail - this.#head === this.#flows.length) this.#grow()
    const at = this.#tail++ & (this.#flows.length - 1)
    this.#flows[at] = flow
    this.#bytes[at] = bytes
  }

  shift(): void {
    this.#head++
  }

  #grow(): void {
    const length = this.#flows.length
    const flows = new Int32Array(2 * length)
    const bytes = new Int32Array(2 * length)
    for (let i = this.#head; i < this.#tail; i++) {
      flows[i & (2 * length - 1)] = this.#flows[i & (length - 1)]!
      bytes[i & (2 * length - 1)] = this.#bytes[i & (length - 1)]!
    }
    this.#flows = flows
    this.#bytes = bytes
  }
}
