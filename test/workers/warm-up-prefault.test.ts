import { afterEach, describe, expect, it, vi } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { UffdPlacer } from '../../src/fault/uffd-placer.ts'
import { Rests } from '../../src/lane/rests.ts'
import { allocateRehearsals } from '../../src/workers/eager-compiler.ts'
import { makeWait } from '../../src/workers/wait.ts'
import { warmUpPrefault, warmUpPrefaultBriefly } from '../../src/workers/warm-up-prefault.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'

/** What a rehearsal maps and registers as missing: in the 16 TiB from here on nothing else lies. */
const SCRATCH = 0x5100_0000_0000
const SCRATCH_END = 0x5200_0000_0000

describe.skipIf(!userfaultfdOrSkipLoudly())('a rehearsal of prefault', () => {
  let places = 0
  /** Reading a page that is missing would stop this very thread for ever; the test would not fail, it would stand. */
  function watchPlacements(): void {
    places = 0
    const place = UffdPlacer.prototype.place
    vi.spyOn(UffdPlacer.prototype, 'place').mockImplementation(function (
      this: UffdPlacer,
      page,
      pages,
      address,
    ) {
      if (address >= SCRATCH && address < SCRATCH_END) throw new Error(`page ${page} out of its own memory`)
      places++
      return place.call(this, page, pages, address)
    })
  }
  afterEach(() => vi.restoreAllMocks())

  const agent = (hasNeighbours: boolean) => ({
    clock: monotonicClock,
    wait: makeWait('block', monotonicClock),
    rests: new Rests({ clock: monotonicClock, giveWay: () => {}, sleep: () => {}, factor: 0.2 }),
    hasNeighbours,
  })

  it.each([0, 1, 2, 3, 5, 8, 20, 60, 200])('ends when it is stopped, after being asked %i times', (asks) => {
    watchPlacements()
    let asked = 0
    warmUpPrefault(agent(false), allocateRehearsals(), () => asked++ >= asks)
    expect(asked).toBeGreaterThan(asks)
  })

  it('places, and nothing that it reads can be missing', () => {
    watchPlacements()
    warmUpPrefaultBriefly(agent(true))
    expect(places).toBeGreaterThan(0)
  })
})
