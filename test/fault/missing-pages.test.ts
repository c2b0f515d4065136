import { afterEach, describe, expect, it } from 'vitest'
import { MissingPages } from '../../src/fault/missing-pages.ts'
import { MADV, MAP, PROT } from '../../src/native/abi.ts'
import { check, libc, viewOf } from '../../src/native/libc.ts'

const PAGE_BYTES = 4096
const PAGES = 150 // Two groups and a part of one.
const unmaps: (() => void)[] = []
afterEach(() => {
  for (const unmap of unmaps.splice(0)) unmap()
})

/** Untouched memory, in pages of the system and not in large ones, and a way to touch a page of it. */
function mapMemory(): { address: number; touch: (page: number) => void } {
  const bytes = PAGES * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'test')
  unmaps.push(() => libc().munmap(address, bytes))
  libc().madvise(address, bytes, MADV.NOHUGEPAGE)
  const words = new Int32Array(viewOf(address, bytes))
  return {
    address,
    touch: (page) => {
      words[(page * PAGE_BYTES) / 4] = 1
    },
  }
}

function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state / 2 ** 32
  }
}

describe('MissingPages', () => {
  it('draws every page once if each is touched when drawn, the last one too, and then none', () => {
    const { address, touch } = mapMemory()
    const missing = new MissingPages(address, PAGE_BYTES, PAGES)
    const random = randomOf(3)
    const drawn = new Set<number>()
    for (let draw = 0; draw < PAGES; draw++) {
      const page = missing.draw(random)
      expect(page).toBeGreaterThanOrEqual(0)
      expect(page).toBeLessThan(PAGES)
      drawn.add(page)
      touch(page)
    }
    expect(drawn.size).toBe(PAGES)
    expect(missing.draw(random)).toBe(-1)
  })

  it('draws none that has come meanwhile, and finds the only one that is left', () => {
    const { address, touch } = mapMemory()
    const missing = new MissingPages(address, PAGE_BYTES, PAGES)
    for (let page = 0; page < PAGES; page++) if (page !== 149) touch(page)
    const random = randomOf(7)
    for (let draw = 0; draw < 10; draw++) expect(missing.draw(random)).toBe(149)
  })
})
