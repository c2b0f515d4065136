import { beforeEach, describe, expect, it } from 'vitest'
import { PLACED, type Placer } from '../../src/fault/fault-source.ts'
import { allocateBoard, Board } from '../../src/lane/board.ts'
import { RunPlacer } from '../../src/lane/run-placer.ts'
import { PAGE, PageTable } from '../../src/memory/page-table.ts'

const PAGES = 4096
const PAGE_BYTES = 4096
const ADDRESS = 1 << 20

describe('what prefault has received', () => {
  let nowNs: number
  let nsPerPage: number
  let table: PageTable
  let board: Board
  let calls: [page: number, pages: number, address: number][]
  let placer: Placer
  let runs: RunPlacer
  let pause: () => void

  beforeEach(() => {
    nowNs = 0
    nsPerPage = 0
    table = PageTable.allocate(PAGES)
    table.reset(0, PAGES, PAGE.MISSING)
    table.moveRun(0, PAGES, PAGE.MISSING, PAGE.PREFAULTING)
    board = new Board(allocateBoard())
    calls = []
    pause = () => {}
    placer = {
      status: PLACED.ALL,
      place: (page, pages, address) => {
        calls.push([page, pages, address])
        nowNs += pages * nsPerPage
        return pages
      },
      placeZero: (_, pages) => pages,
      wake: () => {},
      lose: () => {},
    }
    runs = new RunPlacer({
      table,
      board,
      clock: { nowNs: () => nowNs },
      pageBytes: PAGE_BYTES,
      pause: () => pause(),
      settle: (page, pages) => {
        for (let i = page; i < page + pages; i++)
          if (!table.tryMove(i, PAGE.PREFAULTING, PAGE.PRESENT)) table.tryMove(i, PAGE.PROMOTED, PAGE.PRESENT)
      },
    })
  })

  /** Runs of 32 pages one after the other; how many pages the calls of the last one had. */
  function placeRuns(count: number, isWatched: boolean): number[] {
    for (let n = 0; n < count; n++) {
      calls = []
      expect(runs.place(placer, n * 32, 32, ADDRESS, isWatched)).toBe(32)
    }
    return calls.map(([, pages]) => pages)
  }

  it.each([
    [100, [16, 16]], // A page takes 0.1 µs: no call has more than 16.
    [2_000, [16, 16]],
    [4_000, [10, 10, 10, 2]],
    [9_000, [4, 4, 4, 4, 4, 4, 4, 4]],
    [500_000, Array(32).fill(1)], // Longer than a call should be: page by page.
  ])('is placed in calls of 40 µs while demand is about: pages of %i ns', (ns, expected) => {
    nsPerPage = ns
    expect(placeRuns(40, true)).toEqual(expected)
  })

  it('goes in one call when nobody faults, and is timed all the same', () => {
    nsPerPage = 9_000
    expect(placeRuns(40, false)).toEqual([32])
    expect(runs.place(placer, 40 * 32, 32, ADDRESS, true)).toBe(32)
    expect(calls.slice(1).map(([, pages]) => pages)).toEqual(Array(8).fill(4))
  })

  it('goes on in long calls after one call that was interrupted', () => {
    nsPerPage = 1_000
    placeRuns(10, true)
    const place = placer.place
    placer.place = (page, pages, address) => {
      nowNs += 20e6 // Somebody else had the processor.
      placer.place = place
      return place.call(placer, page, pages, address)
    }
    expect(runs.place(placer, 10 * 32, 32, ADDRESS, true)).toBe(32)
    expect(calls.at(-1)?.[1]).toBe(16)
  })

  it('goes first where somebody waits for it; its neighbours and what was removed are left to themselves', () => {
    table.tryMove(20, PAGE.PREFAULTING, PAGE.PROMOTED)
    table.tryMove(5, PAGE.PREFAULTING, PAGE.REMOVED)
    board.setPending(1)
    expect(runs.place(placer, 0, 32, ADDRESS, true)).toBe(32)
    expect(calls).toEqual([
      [20, 1, ADDRESS + 20 * PAGE_BYTES],
      [0, 5, ADDRESS],
      [6, 14, ADDRESS + 6 * PAGE_BYTES],
      [21, 11, ADDRESS + 21 * PAGE_BYTES],
    ])
  })

  it('waits until the demand agent has read its events, also when that has lost the processor', () => {
    const { words, index } = board.readingWord
    Atomics.store(words, index, 1)
    let pauses = 0
    pause = () => {
      if (++pauses === 5) Atomics.store(words, index, 0)
    }
    expect(runs.place(placer, 0, 32, ADDRESS, false)).toBe(32)
    expect([pauses, calls.length]).toEqual([5, 1])
    expect(Atomics.load(board.placingWord.words, board.placingWord.index)).toBe(0)
  })

  it('is put aside when that takes too long, and nothing was placed', () => {
    const { words, index } = board.readingWord
    Atomics.store(words, index, 1)
    let pauses = 0
    pause = () => void pauses++
    expect(runs.place(placer, 0, 32, ADDRESS, false)).toBe(0)
    expect([runs.status, calls.length, pauses]).toEqual([PLACED.AGAIN, 0, 16])
    expect(Atomics.load(board.placingWord.words, board.placingWord.index)).toBe(0)
  })

  it.each([PLACED.AGAIN, PLACED.GONE])('stops where the kernel says no, and says why (%i)', (status) => {
    table.tryMove(20, PAGE.PREFAULTING, PAGE.PROMOTED)
    board.setPending(1)
    const place = placer.place
    placer.place = (page, pages, address) => {
      if (page !== 0) return place.call(placer, page, pages, address)
      placer.status = status
      return 7
    }
    expect(runs.place(placer, 0, 32, ADDRESS, true)).toBe(7)
    expect([runs.status, runs.isAhead(20), runs.isAhead(21)]).toEqual([status, true, false])
  })
})
