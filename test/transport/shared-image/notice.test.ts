import fc from 'fast-check'
import { expect, it } from 'vitest'
import { UNIX_PATH_BYTES_MAX } from '../../../src/native/unix-socket.ts'
import { decodeNotice, encodeNotice } from '../../../src/transport/shared-image/notice.ts'

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const identities = fc.tuple(u64, u64, u64).map((words) => words.join(' '))
const names = fc
  .string({ unit: 'grapheme', minLength: 1 })
  .filter((name) => !name.includes('\0') && Buffer.from(name).toString() === name)

it('says which file it is, exactly', () => {
  const files = fc.record({ path: names.map((name) => `/${name}`), identity: identities })
  fc.assert(
    fc.property(files, (file) => {
      const fits = Buffer.byteLength(file.path) <= UNIX_PATH_BYTES_MAX
      expect(decodeNotice(encodeNotice(file))).toEqual(fits ? file : undefined)
    }),
  )
  expect(decodeNotice(encodeNotice(undefined))).toBe(undefined)
})

it('takes the longest path of a socket, and tells of no longer one', () => {
  const identity = '1 2 3'
  const longest = { path: `/${'x'.repeat(UNIX_PATH_BYTES_MAX - 1)}`, identity }
  expect(decodeNotice(encodeNotice(longest))).toEqual(longest)
  expect(decodeNotice(encodeNotice({ path: `${longest.path}x`, identity }))).toBe(undefined)
})
