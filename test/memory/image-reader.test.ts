import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ImageReader } from '../../src/memory/image-reader.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'

const PAGE = 4096
const WORDS = PAGE / 4

/** A page of data, one that begins with zero, one all of zeros, and a hole. */
const KINDS = ['data', 'late', 'zero', 'hole'] as const

it('a run ends where pages of zeros begin or end, whatever they are made of', () => {
  const kinds = fc.array(fc.constantFrom(...KINDS, 'data' as const), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(kinds, fc.nat(19), fc.integer({ min: 1, max: 20 }), (pages, from, most) => {
      const memory = new NativeBuffer(pages.length * PAGE, PAGE)
      const extents: number[] = []
      pages.forEach((kind, page) => {
        if (kind !== 'hole') extents.push(page, 1)
        if (kind === 'data') memory.u32[page * WORDS] = 1
        if (kind === 'late') memory.u32[page * WORDS + WORDS - 1] = 1
      })
      const image = {
        name: 'test',
        id: '0',
        bytes: memory.bytes,
        address: memory.address,
        fd: -1,
        isOurs: true,
      }
      const reader = new ImageReader({ ...image, extents: Uint32Array.from(extents) })
      const first = Math.min(from, pages.length - 1)
      const pagesMax = Math.min(most, pages.length - first)
      const isZero = pages.map((kind) => kind === 'zero' || kind === 'hole')
      expect(pages.map((_, page) => reader.isZero(page))).toEqual(isZero)
      const next = isZero.findIndex((zero, page) => page > first && zero !== isZero[first])
      expect(reader.likeFirst(first, pagesMax)).toBe(
        Math.min(pagesMax, (next < 0 ? pages.length : next) - first),
      )
    }),
  )
})
