import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { makeSyntheticImage } from '../../src/daemon/synthetic-image.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { viewOf } from '../../src/native/libc.ts'

it('a synthetic image that others map holds its pattern, and nobody can cut it short, lengthen it or write to it', async () => {
  const before = readdirSync('/proc/self/fd').length
  const pages = 5
  const image = await makeSyntheticImage(pages * 4096, true)
  const path = `/proc/self/fd/${image.description.fd}`
  for (const bytes of [0, 4096, (pages + 1) * 4096]) expect(() => truncateSync(path, bytes)).toThrow('EPERM')
  expect(() => writeFileSync(path, 'x', { flag: 'r+' })).toThrow('EPERM')
  const words = new Uint32Array(pages * 1024)
  for (let page = 0; page < pages; page++) fillSyntheticPage(words, page * 1024, page)
  expect(readFileSync(path).equals(Buffer.from(words.buffer))).toBe(true)
  image.close()
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})

it.each([1, 5, 512, 513])(
  'a synthetic image of one process holds its pattern in %i pages, with no descriptor, and goes with its memory',
  async (pages) => {
    const descriptors = readdirSync('/proc/self/fd').length
    const image = await makeSyntheticImage(pages * 4096, false)
    const { address, bytes, fd, extents, id } = image.description
    expect({ bytes, fd, extents: [...(extents ?? [])] }).toEqual({
      bytes: pages * 4096,
      fd: -1,
      extents: [0, pages],
    })
    expect(address % (2 << 20)).toBe(0)
    const expected = new Uint32Array(pages * 1024)
    for (let page = 0; page < pages; page++) fillSyntheticPage(expected, page * 1024, page)
    const words = new Uint32Array(viewOf(address, bytes)).slice()
    expect(Buffer.compare(Buffer.from(words.buffer), Buffer.from(expected.buffer))).toBe(0)
    expect(mappingAt(address)).toMatch(/ r--p /)
    const shared = await makeSyntheticImage(pages * 4096, true)
    expect(id).toBe(shared.description.id)
    shared.close()
    image.close()
    expect(mappingAt(address)).toBeUndefined()
    expect(readdirSync('/proc/self/fd').length).toBe(descriptors)
  },
)

/** Rights and file of the mapping that covers the address, as /proc/self/maps has them. */
function mappingAt(address: number): string | undefined {
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    if (covers(line, address)) return line
  }
  return undefined
}

/** A line of maps, or the entry of smaps that begins with it. */
function covers(mapping: string, address: number): boolean {
  const [begin, end] = (mapping.split(' ')[0] as string).split('-').map((hex) => Number.parseInt(hex, 16))
  return (begin as number) <= address && address < (end as number)
}

it.skipIf(!existsSync('/sys/kernel/mm/transparent_hugepage'))(
  'a synthetic image of one process asks for huge pages',
  async () => {
    const image = await makeSyntheticImage(4 << 20, false)
    const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    const ours = mappings.find((mapping) => covers(mapping, image.description.address))
    expect(ours).toMatch(/^VmFlags:.* hg/m)
    image.close()
  },
)
