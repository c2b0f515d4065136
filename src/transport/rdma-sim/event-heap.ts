/**
 * What happens when: a binary heap of events keyed (time, sequence), so that events of one instant happen in
 * the order in which they were scheduled. Times are integer picoseconds, exact below 2^53 (two and a half hours).
 *
 * An event is a kind and four integers; heap and payload are typed arrays that double when they are full, so
 * scheduling allocates nothing once the run has found its size. Owned by one EventLoop.
 */
const EVENT_INTS = 5

export class EventHeap {
  #times = new Float64Array(256)
  #sequences = new Float64Array(256)
  #ints = new Int32Array(256 * EVENT_INTS)
  #size = 0
  #sequence = 0
  /** The event that pop() took last. */
  timePs = 0
  kind = 0
  a = 0
  b = 0
  c = 0
  d = 0

  get size(): number {
    return this.#size
  }

  /** Infinity when there is no event. */
  nextPs(): number {
    return this.#size === 0 ? Infinity : this.#times[0]!
  }

  push(timePs: number, kind: number, a: number, b: number, c: number, d: number): void {
    if (this.#size === this.#times.length) this.#grow()
    const sequence = this.#sequence++
    let at = this.#size++
    while (at > 0) {
      const parent = (at - 1) >> 1
      // A parent of the same time came first, so the sequence needs no look here.
      if (this.#times[parent]! <= timePs) break
      this.#move(parent, at)
      at = parent
    }
    this.#times[at] = timePs
    this.#sequences[at] = sequence
    const ints = at * EVENT_INTS
    this.#ints[ints] = kind
    this.#ints[ints + 1] = a
    this.#ints[ints + 2] = b
    this.#ints[ints + 3] = c
    this.#ints[ints + 4] = d
  }

  /** Takes the earliest event into the fields; false when there is none. */
  pop(): boolean {
    if (this.#size === 0) return false
    this.timePs = this.#times[0]!
    this.kind = this.#ints[0]!
    this.a = this.#ints[1]!
    this.b = this.#ints[2]!
    this.c = this.#ints[3]!
    this.d = this.#ints[4]!
    const last = --this.#size
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= last) break
      if (child + 1 < last && this.#isBefore(child + 1, child)) child++
      if (!this.#isBefore(child, last)) break
      this.#move(child, at)
      at = child
    }
    if (at !== last) this.#move(last, at)
    return true
  }

  #isBefore(i: number, j: number): boolean {
    const difference = this.#times[i]! - this.#times[j]!
    return difference < 0 || (difference === 0 && this.#sequences[i]! < this.#sequences[j]!)
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from]!
    this.#sequences[to] = this.#sequences[from]!
    this.#ints.copyWithin(to * EVENT_INTS, from * EVENT_INTS, (from + 1) * EVENT_INTS)
  }

  #grow(): void {
    const times = new Float64Array(2 * this.#times.length)
    const sequences = new Float64Array(times.length)
    const ints = new Int32Array(times.length * EVENT_INTS)
    times.set(this.#times)
    sequences.set(this.#sequences)
    ints.set(this.#ints)
    this.#times = times
    this.#sequences = sequences
    this.#ints = ints
  }
}
