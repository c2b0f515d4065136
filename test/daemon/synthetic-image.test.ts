import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { makeSyntheticImage } from '../../src/daemon/synthetic-image.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'

it('a synthetic image holds its pattern, and nobody can cut it short, lengthen it or write to it', async () => {
  const before = readdirSync('/proc/self/fd').length
  const pages = 5
  const image = await makeSyntheticImage(pages * 4096)
  const path = `/proc/self/fd/${image.description.fd}`
  for (const bytes of [0, 4096, (pages + 1) * 4096]) expect(() => truncateSync(path, bytes)).toThrow('EPERM')
  expect(() => writeFileSync(path, 'x', { flag: 'r+' })).toThrow('EPERM')
  const words = new Uint32Array(pages * 1024)
  for (let page = 0; page < pages; page++) fillSyntheticPage(words, page * 1024, page)
  expect(readFileSync(path).equals(Buffer.from(words.buffer))).toBe(true)
  image.close()
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})
