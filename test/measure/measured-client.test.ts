import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type AttachOptions, attach } from '../../src/daemon/attach.ts'
import { openLazyMemory } from '../../src/daemon/lazy.ts'
import { type Serving, serve } from '../../src/daemon/serve.ts'
import { MeasuredClient } from '../../src/measure/measured-client.ts'
import { touchOrder } from '../../src/measure/touch-order.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'

const PAGE = 4096
const PAGES = 256
const WRONG_PAGES = [3, 200]

describe('MeasuredClient', () => {
  let folder: string
  let source: Serving
  let client: MeasuredClient | undefined

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'faultlane-measured-'))
    const image = Buffer.alloc(PAGES * PAGE)
    for (let page = 0; page < PAGES; page++)
      fillSyntheticPage(new Uint32Array(image.buffer), page * 1024, page)
    // The last byte of one page that is touched, and one in the middle of one that is only swept.
    image[(WRONG_PAGES[0]! + 1) * PAGE - 1]! ^= 1
    image[WRONG_PAGES[1]! * PAGE + 1234]! ^= 0x80
    writeFileSync(join(folder, 'image'), image)
    source = await serve({ image: join(folder, 'image'), listen: 'tcp://127.0.0.1:0', wait: 'block' })
  })
  afterEach(async () => {
    await client?.close()
    client = undefined
    await source.close()
    rmSync(folder, { recursive: true })
  })

  async function open(touches: number): Promise<MeasuredClient> {
    client = await MeasuredClient.open({
      bytes: PAGES * PAGE,
      order: touchOrder('seq', PAGES, touches),
      vcpus: 2,
      thinkNs: 0,
    })
    return client
  }
  const attachOnce = async (options: Partial<AttachOptions> = {}) =>
    await attach({ socket: join(folder, 's'), source: source.url, wait: 'block', ...options })

  it('checks every byte over LazyMemory: two wrong bytes are two wrong pages', async () => {
    const { touch, sweep, figures, expectNoneCorrupt } = bound(await open(100))
    const lazy = await openLazyMemory({ source: source.url, wait: 'block' })
    await touch({ lazy })
    expect(figures()).toMatchObject({ checkedPages: 100, corruptPages: 1 })
    await expect.poll(() => lazy.progress().remaining).toBe(0)
    await sweep()
    expect(figures()).toMatchObject({ checkedPages: PAGES, corruptPages: 2 })
    expect(() => expectNoneCorrupt()).toThrow(`2 of ${PAGES} pages held wrong bytes`)
    await lazy.close()
  })

  describe.skipIf(!userfaultfdOrSkipLoudly())('over a userfaultfd', () => {
    it('checks every byte, and each touch without prefault is a stall', async () => {
      const { touch, sweep, figures } = bound(await open(PAGES))
      const destination = await attachOnce({ prefault: 'off' })
      await touch({ socketPath: join(folder, 's') })
      await destination.ended
      await sweep()
      const { stalls, checkedPages, corruptPages } = figures()
      expect(stalls).toMatchObject({ touches: PAGES, count: PAGES })
      expect({ checkedPages, corruptPages }).toEqual({ checkedPages: PAGES, corruptPages: 2 })
    })

    it('comes back from threads that stand in faults nobody answers', async () => {
      const opened = await open(PAGES)
      const destination = await attachOnce({ prefault: 'off' })
      await source.close()
      const touched = opened.touch({ socketPath: join(folder, 's') })
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(opened.touched()).toBeLessThan(PAGES)
      await Promise.all([opened.close(), touched])
      await destination.close()
    })
  })

  it('ends before it has begun', async () => {
    const opened = await open(1)
    await opened.close()
    await opened.close()
  })
})

/** Methods that can be taken apart. */
function bound(client: MeasuredClient) {
  return {
    touch: client.touch.bind(client),
    sweep: client.sweep.bind(client),
    figures: client.figures.bind(client),
    expectNoneCorrupt: client.expectNoneCorrupt.bind(client),
  }
}
