import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LazyOptions, type OpenLazyMemory, openLazyMemory } from '../../src/daemon/lazy.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'

const PAGE = 4096
const PAGES = 1024
/** The image: a pattern, then a hole half as large. */
const BYTES = (PAGES + PAGES / 2) * PAGE
const image = Buffer.alloc(BYTES)
for (let page = 0; page < PAGES; page++) fillSyntheticPage(new Uint32Array(image.buffer), page * 1024, page)

describe('openLazyMemory', () => {
  let folder: string
  let path: string
  let source: ChildProcess | undefined
  let url: string
  let open: OpenLazyMemory | undefined

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'faultlane-lazy-'))
    path = join(folder, 'image')
    writeFileSync(path, image.subarray(0, PAGES * PAGE))
    truncateSync(path, BYTES)
    url = await startSource('tcp://127.0.0.1:0')
  })
  afterEach(async () => {
    await open?.close()
    open = undefined
    await killSource()
    rmSync(folder, { recursive: true })
  })

  async function startSource(listen: string): Promise<string> {
    const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
    source = spawn(process.execPath, [program, 'serve', '--image', path, '--listen', listen], {
      stdio: ['ignore', 'inherit', 'pipe'],
    })
    const [line] = await once(source.stderr!, 'data')
    return /ready (\S+)/.exec(String(line))?.[1] ?? ''
  }
  async function killSource(): Promise<void> {
    if (!source || source.exitCode !== null || source.signalCode !== null) return
    source.kill('SIGKILL')
    await once(source, 'exit')
  }
  async function openMemory(options: Partial<LazyOptions> = {}): Promise<OpenLazyMemory> {
    open = await openLazyMemory({ source: url, wait: 'block', ...options })
    return open
  }
  function expectImage(bytes: Uint8Array, offset: number): void {
    expect(Buffer.compare(bytes, image.subarray(offset, offset + bytes.length))).toBe(0)
  }

  it('reads by demand alone: what was asked for and nothing else crosses the wire', async () => {
    const { memory, progress } = await openMemory({ prefault: 'off' })
    expect(memory.bytes).toBe(BYTES)
    expectImage(memory.readSync(10 * PAGE + 5, 3 * PAGE), 10 * PAGE + 5)
    expectImage(await memory.read(500 * PAGE, PAGE), 500 * PAGE)
    expectImage(memory.readSync(BYTES - 3 * PAGE, 3 * PAGE), BYTES - 3 * PAGE) // In the hole.
    // Counted at the end of the agent's turn, after the reader was woken.
    await expect
      .poll(progress)
      .toEqual({ remaining: PAGES - 5, demanded: 5, prefaulted: 0, bytesReceived: 5 * PAGE })
  })

  it('brings everything once while several threads read', async () => {
    const { memory, share, progress } = await openMemory()
    const strides = [0, 1, 2].map((k) =>
      Array.from({ length: 300 }, (_, i) => [((i * 7 + k * 300) % 1500) * PAGE, PAGE + k]),
    )
    const threads = strides.map(async (reads) => {
      const worker = new Worker(new URL('./lazy-reader.mjs', import.meta.url), {
        workerData: { share, reads },
      })
      const [digest] = await once(worker, 'message')
      const hash = createHash('sha256')
      for (const [offset, length] of reads) hash.update(image.subarray(offset, offset! + length!))
      expect(digest).toBe(hash.digest('hex'))
    })
    for (let page = PAGES - 1; page >= 0; page -= 100)
      expectImage(memory.readSync(page * PAGE, PAGE), page * PAGE)
    await Promise.all(threads)
    expectImage(await memory.read(0, BYTES), 0)
    await expect.poll(progress).toMatchObject({ remaining: 0, bytesReceived: PAGES * PAGE })
    const { demanded, prefaulted } = progress()
    expect(demanded + prefaulted).toBe(PAGES)
  })

  it('waits for a source that was killed, and goes on when it is back', async () => {
    const events: string[] = []
    const { memory } = await openMemory({ prefault: 'off', onEvent: ({ kind }) => events.push(kind) })
    expectImage(await memory.read(0, PAGE), 0)
    await killSource()
    const read = memory.read(PAGE, PAGE)
    while (!events.includes('source-lost')) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(memory.isHere(PAGE, PAGE)).toBe(false)
    await startSource(url)
    expectImage(await read, PAGE)
    // The page comes by shared memory, the news by a message behind it.
    await expect.poll(() => events, { timeout: 10_000 }).toEqual(['source-lost', 'source-back'])
  })

  it('fails with the page and the time when the source stays away', async () => {
    const { memory } = await openMemory({ prefault: 'off', timeoutMs: 300 })
    await killSource()
    expect(() => memory.readSync(7 * PAGE, 1)).toThrow(/page 7 did not arrive within/)
    await expect(memory.read(8 * PAGE, 1)).rejects.toMatchObject({ code: 'DEMAND_TIMEOUT' })
  })

  it('leaves nothing behind, and fails whoever waits', async () => {
    const before = readdirSync('/proc/self/fd').length
    const { memory, close } = await openMemory({ prefault: 'off' })
    await killSource()
    const read = memory.read(0, 1).catch((error) => error.code)
    await Promise.all([close(), close()])
    expect(await read).toBe('PAGE_LOST')
    expect(() => memory.readSync(0, 1)).toThrow('has been closed')
    expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before)
  })

  it('says when there is no source', async () => {
    await killSource()
    const before = readdirSync('/proc/self/fd').length
    await expect(openLazyMemory({ source: url })).rejects.toMatchObject({ code: 'CONNECT_FAILED' })
    expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  })
})
