/**
 * The state of every page of one image at the destination: one byte a page in shared memory, and every
 * transition one compare-exchange, so that a page is asked for once and placed once whoever gets there first.
 *
 * Owners: the demand agent and the prefault agent, each in its own thread; neither ever waits for the other.
 *
 *     OUTSIDE   no region of the client covers the page
 *     MISSING ──▶ DEMANDED ──────────▶ PRESENT      asked for on the demand lane
 *        │  └───▶ PREFAULTING ───────▶ PRESENT      asked for on the prefault lane
 *        │             └─▶ PROMOTED ─▶ PRESENT      a demand fault waits for what prefault has in flight
 *        └───▶ ZERO                                 reads as zero: a hole of the image
 *     any but OUTSIDE ─▶ REMOVED                    given back by the client: reads as zero from then on
 *     any in flight ─▶ LOST ─▶ MISSING              the channel broke; touchers wait until it is asked for again
 */
export const PAGE = {
  OUTSIDE: 0,
  MISSING: 1,
  DEMANDED: 2,
  PREFAULTING: 3,
  PROMOTED: 4,
  PRESENT: 5,
  /** Known to be zero in the image and not placed: a toucher gets the zero page. */
  ZERO: 6,
  /** The client gave the page back (UFFD_EVENT_REMOVE): from now on it reads zero, never snapshot bytes. */
  REMOVED: 7,
  LOST: 8,
} as const

const STATE_COUNT = 9
/** A state times this: four pages in it, in one word. */
const FOUR = 0x01010101

/** allowed[from * STATE_COUNT + to]: the arrows of the picture above, nothing else. */
const allowed = new Uint8Array(STATE_COUNT * STATE_COUNT)
for (const [from, to] of [
  [PAGE.MISSING, PAGE.DEMANDED],
  [PAGE.MISSING, PAGE.PREFAULTING],
  [PAGE.MISSING, PAGE.ZERO],
  [PAGE.PREFAULTING, PAGE.PROMOTED],
  [PAGE.PREFAULTING, PAGE.MISSING], // Posted nothing after all: no credit.
  [PAGE.DEMANDED, PAGE.MISSING],
  ...[PAGE.DEMANDED, PAGE.PREFAULTING, PAGE.PROMOTED].flatMap((from) => [
    [from, PAGE.PRESENT],
    [from, PAGE.ZERO],
    [from, PAGE.LOST],
  ]),
  [PAGE.LOST, PAGE.MISSING],
  ...[PAGE.MISSING, PAGE.DEMANDED, PAGE.PREFAULTING, PAGE.PROMOTED, PAGE.PRESENT, PAGE.ZERO, PAGE.LOST].map(
    (from) => [from, PAGE.REMOVED],
  ),
] as [number, number][]) {
  allowed[from * STATE_COUNT + to] = 1
}

export class PageTable {
  readonly buffer: SharedArrayBuffer
  readonly pageCount: number
  readonly #states: Uint8Array
  /** The same, four pages to a word; what is left over at the end has none. */
  readonly #fours: Int32Array

  /** @param buffer shared by both lanes; at least `pageCount` bytes, zero-filled when new (all OUTSIDE). */
  constructor(buffer: SharedArrayBuffer, pageCount: number) {
    if (buffer.byteLength < pageCount)
      throw new RangeError(`page table of ${pageCount} pages in ${buffer.byteLength} bytes`)
    this.buffer = buffer
    this.pageCount = pageCount
    this.#states = new Uint8Array(buffer, 0, pageCount)
    this.#fours = new Int32Array(buffer, 0, pageCount >> 2)
  }

  static allocate(pageCount: number): PageTable {
    return new PageTable(new SharedArrayBuffer(pageCount), pageCount)
  }

  /** The page's state now; it may be another by the time the caller looks at it. */
  state(page: number): number {
    return Atomics.load(this.#states, page)
  }

  /** Moves the page from `from` to `to` if it is in `from`; false when somebody else was first. Throws on an arrow the picture does not have. */
  tryMove(page: number, from: number, to: number): boolean {
    if (allowed[from * STATE_COUNT + to] === 0)
      throw new RangeError(`page ${page}: no transition ${from} → ${to}`)
    return Atomics.compareExchange(this.#states, page, from, to) === from
  }

  /**
   * tryMove() on one page after the other, until one is not in `from`: how many it has moved. Four pages that lie in one
   * word move with one compare-exchange: a session of prefault is over before the compiler is, so it counts how often
   * the interpreter goes round. Bytes and words that overlap are one coherent line to x86-64 and arm64, whatever the language
   * leaves open of them; a test claims both ways from two threads.
   */
  moveRun(firstPage: number, pagesMax: number, from: number, to: number): number {
    if (allowed[from * STATE_COUNT + to] === 0)
      throw new RangeError(`page ${firstPage}: no transition ${from} → ${to}`)
    const states = this.#states
    const end = Math.min(firstPage + pagesMax, this.pageCount)
    let page = firstPage
    while (page < end) {
      if ((page & 3) === 0 && page + 4 <= end) {
        const froms = from * FOUR
        if (Atomics.compareExchange(this.#fours, page >> 2, froms, to * FOUR) === froms) {
          page += 4
          continue
        }
      }
      if (Atomics.compareExchange(states, page, from, to) !== from) break
      page++
    }
    return page - firstPage
  }

  /** Sets a range before any agent runs, or after all have stopped: plain writes, no transition is checked. */
  reset(firstPage: number, pageCount: number, state: number): void {
    this.#states.fill(state, firstPage, firstPage + pageCount)
  }

  /** Sets a range to what is known of the image: MISSING where data may be, ZERO in holes. How many are zero. As reset(). */
  resetToImage(firstPage: number, pageCount: number, dataExtents: Uint32Array | null): number {
    if (!dataExtents) {
      this.reset(firstPage, pageCount, PAGE.MISSING)
      return 0
    }
    this.reset(firstPage, pageCount, PAGE.ZERO)
    const end = firstPage + pageCount
    let data = 0
    for (let i = 0; i < dataExtents.length; i += 2) {
      const from = Math.max(firstPage, dataExtents[i] as number)
      const to = Math.min(end, (dataExtents[i] as number) + (dataExtents[i + 1] as number))
      if (from >= to) continue
      this.reset(from, to - from, PAGE.MISSING)
      data += to - from
    }
    return pageCount - data
  }

  /** First page at or after `page` and before `end` in `state`; `end` when there is none. */
  find(state: number, page: number, end: number): number {
    const states = this.#states
    while (page < end && states[page] !== state) page++
    return page
  }

  /** How many pages from the first on are in `state`, at most `pagesMax`: plain loads, four pages at a time. */
  run(state: number, firstPage: number, pagesMax: number): number {
    const end = Math.min(firstPage + pagesMax, this.pageCount)
    let page = firstPage
    for (; page < end && (page & 3) !== 0; page++) if (this.#states[page] !== state) return page - firstPage
    const fours = this.#fours
    while (page + 4 <= end && fours[page >> 2] === state * FOUR) page += 4
    while (page < end && this.#states[page] === state) page++
    return page - firstPage
  }

  count(state: number): number {
    const states = this.#states
    let found = 0
    for (let page = 0; page < this.pageCount; page++) if (states[page] === state) found++
    return found
  }
}
