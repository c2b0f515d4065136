import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FaultlaneError } from '../../src/errors.ts'
import {
  BODY_BYTES_MAX,
  BodyCollector,
  encodeHandshake,
  type HandshakeDialect,
  parseHandshake,
  REGIONS_MAX,
} from '../../src/fault/handshake-parse.ts'

const PAGE = 4096
const IMAGE = 2 ** 40
const bytesOf = (text: string) => new TextEncoder().encode(text)
const dialects: HandshakeDialect[] = ['firecracker', 'mappings', 'nydus']

/** Regions that lie side by side in the image and anywhere, apart from each other, in memory. */
const bodies = fc
  .record({
    pageSize: fc.constantFrom(4096, 2 << 20, 1 << 30),
    pages: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 }),
    gaps: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 12, maxLength: 12 }),
    dialect: fc.constantFrom(...dialects),
    shuffle: fc.boolean(),
  })
  .map(({ pageSize, pages, gaps, dialect, shuffle }) => {
    let end = 1n << 64n // From the top of the address space down: precision would show.
    let offset = 0
    const regions = pages.map((count, i) => {
      const bytes = count * pageSize
      end -= BigInt(bytes)
      const region = { base: end, bytes, offset }
      end -= BigInt(gaps[i]! * pageSize)
      offset += bytes
      return region
    })
    if (shuffle) regions.reverse()
    return { pageSize, dialect, regions, imageBytes: offset }
  })

function refusal(text: string, imageBytes = IMAGE): string {
  try {
    parseHandshake(text, imageBytes)
  } catch (error) {
    expect(error).toBeInstanceOf(FaultlaneError)
    expect((error as FaultlaneError).code).toBe('HANDSHAKE')
    return (error as Error).message
  }
  throw new Error(`accepted: ${text}`)
}

function region(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return { base_host_virt_addr: 0x10000, size: PAGE, offset: 0, page_size: PAGE, ...fields }
}
const json = (...regions: unknown[]) => JSON.stringify(regions)

describe('parseHandshake', () => {
  it('gives back what was encoded, in every dialect, to the last bit of 64', () => {
    fc.assert(
      fc.property(bodies, ({ regions, pageSize, dialect, imageBytes }) => {
        const body = parseHandshake(encodeHandshake(regions, pageSize, dialect), imageBytes)
        expect(body.pageSize).toBe(pageSize)
        expect(body.regions).toEqual(
          regions.map((r) => ({
            ...r,
            baseHi: Number(r.base >> 32n),
            baseLo: Number(r.base & 0xffffffffn),
          })),
        )
      }),
    )
  })

  it('takes either page size spelling, in bytes, and prefers page_size', () => {
    const size = (fields: Record<string, unknown>) => {
      const item = { base_host_virt_addr: 2 << 20, size: 2 << 20, offset: 0, ...fields }
      return parseHandshake(json(item), IMAGE).pageSize
    }
    expect(size({ page_size: 2 << 20 })).toBe(2 << 20)
    expect(size({ page_size_kib: 2 << 20 })).toBe(2 << 20)
    expect(size({ page_size: 4096, page_size_kib: 2 << 20 })).toBe(4096)
    expect(size({})).toBe(4096)
    expect(refusal(json(region({ page_size_kib: 4, page_size: undefined })))).toMatch(
      'page_size_kib 4, not 4096',
    )
  })

  it('ignores fields it does not know, and numbers inside strings', () => {
    const item = region({ note: 'size": 1, \\" 2', memory: { a: [1.5e3, -1, null] } })
    expect(parseHandshake(json(item), IMAGE).regions).toHaveLength(1)
  })

  it('takes JSON exactly when JSON.parse does', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      ',',
      ':',
      ' ',
      '"a"',
      '"',
      '\\',
      '0',
      '12',
      '-',
      '1.5',
      '.',
      'e3',
      'null',
      'tru',
      '\n',
    )
    const text = fc.oneof(
      fc.array(piece, { maxLength: 12 }).map((p) => `[${p.join('')}]`),
      fc.json(),
    )
    fc.assert(
      fc.property(text, (body) => {
        let isJson = true
        try {
          JSON.parse(body)
        } catch {
          isJson = false
        }
        const message = refusal(body)
        expect(message.includes('is not JSON')).toBe(!isJson)
      }),
      { numRuns: 3000 },
    )
  })

  it.each([
    ['[]', 'names no region'],
    ['{"mappings":[]}', 'names no region'],
    ['{}', 'no list of regions'],
    ['{"regions":5}', 'no list of regions'],
    ['{"type":2,"regions":[]}', 'message type is not 0'],
    ['[1]', 'region 0 is not an object'],
    ['[null]', 'region 0 is not an object'],
    [json(region({ size: 0 })), 'region 0 is empty'],
    [json(region({ size: 100 })), 'size 100, not a multiple'],
    [json(region({ offset: 1 })), 'offset 1, not a multiple'],
    [json(region({ base_host_virt_addr: 4095 })), 'base_host_virt_addr 4095, not a multiple'],
    [json(region({ base_host_virt_addr: 4096, size: 2 << 20, page_size: 2 << 20 })), 'not a multiple'],
    [json(region({ page_size: 8192 })), 'page_size 8192, not 4096'],
    [json(region({ page_size: 0 })), 'page_size 0, not 4096'],
    [json(region({ size: -4096 })), 'no whole number size'],
    [json(region({ size: '4096' })), 'no whole number size'],
    [json(region({ size: 4096.5 })), 'no whole number size'],
    [json(region({ size: null })), 'no whole number size'],
    ['[{"base_host_virt_addr":4096,"size":4.096e-3,"offset":0}]', 'no whole number size'],
    ['[{"base_host_virt_addr":12345678901234567.0,"size":4096,"offset":0}]', 'no whole number base'],
    ['[{"base_host_virt_addr":-18446744073709551615,"size":4096,"offset":0}]', 'no whole number base'],
    [
      `[{"base_host_virt_addr":1${'0'.repeat(30)},"size":4096,"offset":0}]`,
      'base_host_virt_addr beyond 64 bits',
    ],
    ['[{"base_host_virt_addr":1e400,"size":4096,"offset":0}]', 'no whole number base'],
    [json(region({ offset: undefined })), 'no whole number offset'],
    ['[{"base_host_virt_addr":18446744073709551616,"size":4096,"offset":0}]', 'beyond 64 bits'],
    ['[{"base_host_virt_addr":18446744073709547520,"size":8192,"offset":0}]', 'ends beyond the 64-bit'],
    [json(region(), region({ base_host_virt_addr: 0x20000, offset: 0 })), '0 and 1 overlap in the image'],
    [
      json(region({ size: 8192 }), region({ base_host_virt_addr: 0x11000, offset: 8192 })),
      '0 and 1 overlap in memory',
    ],
    [json(region({ page_size: 4096 }), region({ page_size: 2 << 20 })), 'one size serves all'],
  ])('refuses %s', (text, reason) => {
    expect(refusal(text)).toMatch(reason)
  })

  it('holds regions to the image, to the last byte', () => {
    const text = json(region({ size: 8192, offset: 4096 }))
    expect(parseHandshake(text, 12288).regions).toHaveLength(1)
    expect(refusal(text, 12287)).toMatch('leaves the image of 12287 bytes')
    expect(refusal('[{"base_host_virt_addr":0,"size":4096,"offset":18446744073709547520}]')).toMatch('leaves')
  })

  it(`takes ${REGIONS_MAX} regions and not one more`, () => {
    const many = (count: number) =>
      encodeHandshake(
        Array.from({ length: count }, (_, i) => ({ base: BigInt(i * 8192), bytes: 4096, offset: i * 4096 })),
        PAGE,
      )
    expect(parseHandshake(many(REGIONS_MAX), IMAGE).regions).toHaveLength(REGIONS_MAX)
    expect(refusal(many(REGIONS_MAX + 1))).toMatch('1025 regions; at most 1024')
  })
})

describe('BodyCollector', () => {
  it('is complete at the last bracket and not before, however the bytes are split', () => {
    fc.assert(
      fc.property(
        bodies,
        fc.array(fc.nat(), { maxLength: 8 }),
        fc.constantFrom('', ' ', '\n\t', '\0'),
        fc.constantFrom('', '\n', '\0', ' \r\n'),
        ({ regions, pageSize, dialect }, cuts, before, after) => {
          const text = encodeHandshake(regions, pageSize, dialect)
          const bytes = bytesOf(before + text + after)
          const last = before.length + text.length
          const collector = new BodyCollector()
          const ends = [...cuts.map((cut) => cut % bytes.length), bytes.length].sort((a, b) => a - b)
          let at = 0
          for (const end of ends) {
            expect(collector.add(bytes.subarray(at, end))).toBe(end >= last)
            at = end
          }
          expect(collector.text()).toBe(text)
        },
      ),
    )
  })

  it('is not fooled by brackets, quotes and backslashes inside strings', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', '\\', 'a') })),
        (strings) => {
          const bytes = bytesOf(JSON.stringify({ strings }))
          const collector = new BodyCollector()
          for (let i = 0; i < bytes.length; i++) {
            expect(collector.add(bytes.subarray(i, i + 1))).toBe(i === bytes.length - 1)
          }
        },
      ),
    )
  })

  it.each([
    ['hello', 'not a JSON array or object'],
    ['"[]"', 'not a JSON array or object'],
    ['[] []', 'bytes after the end'],
    ['[]x', 'bytes after the end'],
    ['[{]', 'not JSON'],
    ['{"a":[}', 'not JSON'],
  ])('refuses %s at once', (text, reason) => {
    expect(() => new BodyCollector().add(bytesOf(text))).toThrow(reason)
  })

  it('refuses a body without end, and bytes that are no text', () => {
    const endless = new BodyCollector()
    endless.add(bytesOf('["'))
    const filler = new Uint8Array(BODY_BYTES_MAX - 2).fill(0x61)
    expect(endless.add(filler)).toBe(false)
    expect(() => endless.add(filler.subarray(0, 1))).toThrow('longer than 1048576 bytes')
    const binary = new BodyCollector()
    expect(binary.add(Uint8Array.of(0x5b, 0xff, 0x5d))).toBe(true)
    expect(() => binary.text()).toThrow('not UTF-8')
  })
})
