/** Every page comes, once, with the image's bytes, and says rightly how it came. */
import { strict as assert } from 'node:assert'
import type { ConformanceCase, ConformanceHarness } from '../conformance.ts'
import { COMPLETION, type Lane } from '../transport.ts'
import type { Probe } from './probe.ts'
import { Random } from './random.ts'
import { CUT_UNITS, isFailure, sessionCase } from './session.ts'

const LANES: readonly Lane[] = ['demand', 'prefault']

export function deliveryCases(harness: ConformanceHarness): ConformanceCase[] {
  const cases = [
    sessionCase(harness, 'describe() and both lanes tell the same image', async (session) => {
      const info = await session.source.describe()
      assert.match(info.imageId, /^[0-9a-f]{16}$/, 'imageId is 16 hexadecimal digits')
      assert.equal(info.pageSize, 4096, 'the default page size')
      assert.equal(info.pageCount * info.pageSize, session.image.bytes)
      for (const lane of LANES) {
        const { channel } = await session.open(lane)
        const { imageId, pageSize, pageCount } = channel.info
        assert.deepEqual([imageId, pageSize, pageCount], [info.imageId, info.pageSize, info.pageCount])
      }
      const probe = await session.open('demand')
      if (info.dataExtents) checkExtents(info.dataExtents, probe)
    }),
    sessionCase(harness, 'every page alone, first and last', async (session) => {
      for (const lane of LANES) {
        const probe = await session.open(lane)
        await readAll(probe, 1)
        checkTotals(probe)
      }
    }),
    sessionCase(harness, 'every page in reads of readPagesMax', async (session) => {
      for (const lane of LANES) {
        const probe = await session.open(lane)
        await readAll(probe, Math.min(probe.channel.readPagesMax, probe.channel.info.pageCount))
        checkTotals(probe)
      }
    }),
    sessionCase(harness, 'holes and pages of zeros end as ZERO and cost no bytes', async (session) => {
      const probe = await session.open('prefault')
      const { pageCount } = probe.channel.info
      for (let page = 0; page < pageCount; page++) {
        if (probe.expectedKind(page) !== COMPLETION.ZERO) continue
        while (!probe.post(page, page, 1)) await probe.drain()
      }
      await probe.drain()
      assert.ok((probe.pagesByKind[COMPLETION.ZERO] as number) > 0)
      assert.equal(probe.channel.bytesReceived, 0)
    }),
    sessionCase(harness, 'work ids come back as they were given', async (session) => {
      const probe = await session.open('demand')
      const ids = [0x7fff_ffff, 0, 1, 0x4000_0000, 12345, 255, 256, 65_536]
      for (const round of [0, 1]) {
        ids.forEach((id, i) => {
          probe.post(id, i + round, 1)
        })
        await probe.drain(1)
      }
    }),
    sessionCase(harness, 'other page sizes: powers of two that divide the image', async (session) => {
      for (const pageSize of [8192, 65_536]) {
        const info = await session.source.describe({ pageSize })
        const probe = await session.open('demand', { pageSize })
        assert.equal(probe.channel.info.pageSize, pageSize)
        assert.equal(probe.channel.info.pageCount, session.image.bytes / pageSize)
        if (info.dataExtents) checkExtents(info.dataExtents, probe)
        await readAll(probe, Math.min(2, probe.channel.readPagesMax))
        checkTotals(probe)
      }
    }),
    sessionCase(harness, 'page sizes that do not fit are refused', async (session) => {
      // Not a power of two; below 4096; not a divisor of the image.
      for (const pageSize of [5000, 12_288, 2048, 0, 524_288]) {
        const opening = async () => session.source.open('demand', { pageSize })
        await assert.rejects(
          opening,
          (error) => isFailure(error, 'GEOMETRY_MISMATCH'),
          `page size ${pageSize}`,
        )
        const asking = async () => session.source.describe({ pageSize })
        await assert.rejects(
          asking,
          (error) => isFailure(error, 'GEOMETRY_MISMATCH'),
          `page size ${pageSize}`,
        )
      }
      await readAll(await session.open('demand'), 4)
    }),
    sessionCase(harness, 'two destinations at once, with the same work ids', async (session) => {
      const probes = [
        await session.open('demand'),
        await session.open('prefault'),
        await session.open('demand'),
        await session.open('prefault'),
      ]
      const random = new Random(7)
      for (let round = 0; round < 20; round++) {
        for (const probe of probes) {
          const { pageCount } = probe.channel.info
          for (let id = 0; id < 8; id++) if (!probe.reads.has(id)) probe.post(id, random.below(pageCount), 1)
          probe.channel.flush()
        }
        for (const probe of probes) probe.poll(4)
      }
      for (const probe of probes) await probe.drain()
    }),
  ]
  if (!harness.canFailToRead) return cases
  return [
    ...cases,
    sessionCase(
      harness,
      'a page that cannot be read ends as ERROR, and its neighbours come',
      async (session) => {
        for (const lane of LANES) {
          const probe = await session.open(lane)
          // Around the edge in reads of every alignment, then everything.
          const width = Math.min(8, probe.channel.readPagesMax)
          for (let first = CUT_UNITS - width; first <= CUT_UNITS; first++) {
            while (!probe.post(first, first, width)) await probe.drain()
          }
          await probe.drain()
          await readAll(probe, Math.min(7, probe.channel.readPagesMax))
          assert.ok(
            (probe.pagesByKind[COMPLETION.ERROR] as number) >= probe.channel.info.pageCount - CUT_UNITS,
          )
        }
      },
      CUT_UNITS,
    ),
  ]
}

/** Reads the image once in order, `pages` a read, the last one shorter. */
async function readAll(probe: Probe, pages: number): Promise<void> {
  const { pageCount } = probe.channel.info
  for (let first = 0; first < pageCount; first += pages) {
    while (!probe.post(first, first, Math.min(pages, pageCount - first))) await probe.drain()
  }
  await probe.drain()
}

function checkTotals(probe: Probe): void {
  const { pageCount, pageSize } = probe.channel.info
  let withContent = 0
  for (let page = 0; page < pageCount; page++) {
    if (probe.expectedKind(page) === COMPLETION.CONTENT) withContent++
  }
  assert.deepEqual(probe.pagesByKind, [withContent, pageCount - withContent, 0])
  assert.equal(probe.channel.bytesReceived, withContent * pageSize)
}

/** Ascending, apart, inside the image, and every page outside them is zero. */
function checkExtents(extents: Uint32Array, probe: Probe): void {
  const { pageCount } = probe.channel.info
  let page = 0
  for (let i = 0; i <= extents.length; i += 2) {
    const first = i < extents.length ? (extents[i] as number) : pageCount
    const pages = i < extents.length ? (extents[i + 1] as number) : 0
    assert.ok(first >= page && first + pages <= pageCount, `extent ${first}+${pages} after page ${page}`)
    for (; page < first; page++) {
      assert.equal(
        probe.expectedKind(page),
        COMPLETION.ZERO,
        `page ${page} is outside dataExtents and not zero`,
      )
    }
    page += pages
  }
}
