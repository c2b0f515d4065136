import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { expect, it } from 'vitest'
import { FCNTL, MFD, SEAL } from '../../../src/native/abi.ts'
import { libc } from '../../../src/native/libc.ts'
import type { Greeted } from '../../../src/transport/shared-image/greet.ts'
import { CopiedPages } from '../../../src/transport/shm/copied-pages.ts'
import { cannotShrink, MappedPages } from '../../../src/transport/shm/mapped-pages.ts'

const PAGE = 4096
const PAGES = 2000

/** An image in memory: pages 100 to 700 and the last hold data, the rest are holes. */
function imageFd(): number {
  const fd = libc().memfd_create('faultlane-test', MFD.CLOEXEC | MFD.ALLOW_SEALING)
  libc().ftruncate(fd, PAGES * PAGE)
  for (let page = 100; page < 700; page++) writeSync(fd, Buffer.alloc(PAGE, 7), 0, PAGE, page * PAGE)
  writeSync(fd, Buffer.alloc(PAGE, 7), 0, PAGE, (PAGES - 1) * PAGE)
  return fd
}

function map(fd: number, extents: Uint32Array | null): MappedPages {
  const info = { imageId: '1', pageSize: PAGE, pageCount: PAGES, dataExtents: extents }
  // It takes the descriptor over.
  const own = openSync(`/proc/self/fd/${fd}`, 'r')
  return new MappedPages({ info, bytes: PAGES * PAGE, extents, imageFd: own } as Greeted, 'test')
}

it('maps the data of a sealed image ahead, to its end, and fills no hole', () => {
  const fd = imageFd()
  libc().fcntl(fd, FCNTL.ADD_SEALS, SEAL.SHRINK)
  const { blocks } = fstatSync(fd)
  const pages = map(fd, Uint32Array.of(100, 600, PAGES - 1, 1))
  const calls: boolean[] = []
  for (let call = 0; call < 5; call++) calls.push(pages.mapAhead())
  expect(calls).toEqual([true, true, true, false, false]) // 512 pages, 88, and the last.
  expect(fstatSync(fd).blocks).toBe(blocks)
  expect([pages.isZero(99), pages.isZero(100), pages.likeFirst(100, 700)]).toEqual([true, false, 600])
  expect([pages.likeFirst(699, 700), pages.likeFirst(700, 100)]).toEqual([1, 100])
  expect(fstatSync(fd).blocks).toBe(blocks) // Nor does looking for where the data ends.
  pages.close()
  closeSync(fd)
})

it('maps nothing ahead of an image that may be cut short', () => {
  const fd = imageFd()
  const pages = map(fd, null)
  expect(pages.mapAhead()).toBe(false)
  pages.close()
  closeSync(fd)
})

it('copies out of a file that may be cut short: a page that could be read and is gone is told, and kills nobody', () => {
  const fd = imageFd()
  expect(cannotShrink(fd)).toBe(false)
  const info = { imageId: '1', pageSize: PAGE, pageCount: PAGES, dataExtents: null }
  const pages = new CopiedPages({ info, imageFd: fd } as Greeted, 256)
  expect([pages.isReadable(500, 200), pages.likeFirst(500, 200), pages.isZero(500)]).toEqual([
    true,
    200,
    false,
  ])
  pages.endRead()
  expect([pages.isReadable(600, 150), pages.likeFirst(600, 150)]).toEqual([true, 100])
  pages.endRead()
  ftruncateSync(fd, 650 * PAGE)
  expect([pages.isReadable(600, 150), pages.isReadable(649, 1), pages.isReadable(650, 1)]).toEqual([
    false,
    true,
    false,
  ])
  pages.close()
})
