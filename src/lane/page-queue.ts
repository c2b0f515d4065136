/** A bounded first-in first-out queue of pages with the time each was asked for. One owner. */
export class PageQueue {
  readonly capacity: number
  readonly #pages: Int32Array
  readonly #times: Float64Array
  #head = 0
  #count = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#pages = new Int32Array(capacity)
    this.#times = new Float64Array(capacity)
  }

  get count(): number {
    return this.#count
  }

  get room(): number {
    return this.capacity - this.#count
  }

  add(page: number, timeNs: number): void {
    const at = (this.#head + this.#count) % this.capacity
    this.#pages[at] = page
    this.#times[at] = timeNs
    this.#count++
  }

  /** The page at a place in the queue, 0 being the first. */
  pageAt(place: number): number {
    return this.#pages[(this.#head + place) % this.capacity] as number
  }

  firstPage(): number {
    return this.#pages[this.#head] as number
  }

  firstTimeNs(): number {
    return this.#times[this.#head] as number
  }

  dropFirst(): void {
    this.#head = (this.#head + 1) % this.capacity
    this.#count--
  }

  clear(): void {
    this.#head = 0
    this.#count = 0
  }
}
