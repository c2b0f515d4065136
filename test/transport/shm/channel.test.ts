/** The destination's side: whom it will not talk to, what it gives back, and that a killed source is noticed. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { UnixListener } from '../../../src/native/unix-socket.ts'
import { transport } from '../../../src/transport/shm/index.ts'
import { COMPLETION, type CompletionSink } from '../../../src/transport/transport.ts'

const program = fileURLToPath(new URL('../source-process.mjs', import.meta.url))
const PAGE = 2 << 20
let folder: string
let url: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultlane-shm-'))
  url = `shm:${folder}/s`
})
afterEach(() => rmSync(folder, { recursive: true }))

async function startSource(bytes: Buffer) {
  const file = join(folder, 'image')
  writeFileSync(file, bytes)
  const args = ['shm', url, file, String(bytes.length)]
  const child = fork(program, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  await once(child.stdout!, 'data')
  return child
}

const mappings = () => readFileSync('/proc/self/maps', 'utf8').split(`${folder}/image`).length - 1
const openFds = () => readdirSync('/proc/self/fd').length

class Parts implements CompletionSink {
  readonly parts: number[][] = []
  onCompletion(...part: [number, number, number, number, number]): void {
    this.parts.push(part.slice(0, 4))
  }
}

describe('the shm channel', () => {
  it('says when nobody listens, when the welcome does not come, and when another protocol answers', () => {
    expect(() => transport.open(url, 'demand')).toThrow(/cannot reach the source at .*ENOENT/)
    expect(() => transport.open('tcp://x', 'demand')).toThrow(/expected shm:PATH/)
    const silent = new UnixListener(join(folder, 's'))
    const before = openFds()
    expect(() => transport.open(url, 'demand', { timeoutMs: 30 })).toThrow(/no welcome in time \(0 of 48/)
    silent.close()
    expect(() => transport.describe(url)).toThrow(/cannot reach/)
    expect(openFds()).toBe(before - 1)
  })

  it('serves 2 MiB pages, and gives mapping and descriptors back', async () => {
    const bytes = Buffer.alloc(3 * PAGE)
    bytes[PAGE - 1] = 1
    bytes[2 * PAGE] = 2
    const child = await startSource(bytes)
    const before = openFds()
    for (const lane of ['demand', 'prefault'] as const) {
      const channel = transport.open(url, lane, { pageSize: PAGE })
      expect(channel.info).toMatchObject({ pageSize: PAGE, pageCount: 3 })
      expect(channel.readPagesMax).toBe(1)
      const sink = new Parts()
      for (let page = 0; page < 3; page++) channel.tryPostRead(page, page, 1)
      expect(channel.poll(sink, 9)).toBe(3)
      const { CONTENT, ZERO } = COMPLETION
      expect(sink.parts).toEqual([
        [0, 0, 1, CONTENT],
        [1, 1, 1, ZERO],
        [2, 2, 1, CONTENT],
      ])
      channel.close()
      channel.close()
    }
    expect(mappings()).toBe(0)
    expect(openFds()).toBe(before)
    child.kill()
    await once(child, 'exit')
    expect(readdirSync(folder)).toEqual(['image'])
  })

  it('gives no page after the source was killed, in any phase, and a new source takes its place', async () => {
    const content = Buffer.alloc(64 * 4096, 9)
    for (let phase = 0; phase < 6; phase++) {
      const child = await startSource(content)
      const channels = [transport.open(url, 'demand'), transport.open(url, 'prefault')]
      const sink = new Parts()
      for (const channel of channels) {
        for (let id = 0; id < phase * 4; id++) channel.tryPostRead(id, id, 1 + phase)
        if (phase > 2) channel.poll(sink, phase)
      }
      child.kill('SIGKILL')
      await once(child, 'exit')
      await new Promise((resolve) => setTimeout(resolve, 2)) // Longer than a look at the source is put off.
      const delivered = sink.parts.length
      for (const channel of channels) {
        expect(() => channel.poll(sink, 64)).toThrow(/the source closed the connection/)
        expect(() => channel.tryPostRead(1, 0, 1)).toThrow(/closed/)
        channel.close()
      }
      expect(sink.parts).toHaveLength(delivered)
      expect(() => transport.open(url, 'demand')).toThrow(/ENOENT/)
    }
    expect(mappings()).toBe(0)
  })
})
