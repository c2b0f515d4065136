import { readFileSync } from 'node:fs'
import { afterEach, expect, it } from 'vitest'
import { touchAhead } from '../../src/daemon/touch-ahead.ts'
import { Image } from '../../src/memory/image.ts'
import { MFD } from '../../src/native/abi.ts'
import { libc } from '../../src/native/libc.ts'

let image: Image | undefined
afterEach(() => image?.close())

/** Mapped, and no page of it in this process's page tables. */
function open(pages: number): Image {
  const fd = libc().memfd_create('faultlane-test', MFD.CLOEXEC)
  libc().ftruncate(fd, pages * 4096)
  return Image.fromFd(fd, pages * 4096, 'test', 'test')
}

/** Pages of the image that this process's page tables hold. */
function mapped({ description: { address } }: Image): number {
  const smaps = readFileSync('/proc/self/smaps', 'utf8')
  const area = smaps.slice(smaps.indexOf(`${address.toString(16)}-`))
  return Number(/^Rss: +(\d+) kB/m.exec(area)?.[1]) / 4
}

it.each([1, 512, 513, 20_000])('touches every one of %i pages, once the image is there', async (pages) => {
  image = open(pages)
  expect(mapped(image)).toBe(0)
  await touchAhead(image).done
  expect(mapped(image)).toBe(pages)
})

it('stops when told, and then the image can be unmapped', async () => {
  image = open(1 << 20)
  const touching = touchAhead(image)
  await touching.stop()
  expect(mapped(image)).toBeLessThan(1 << 20)
})
