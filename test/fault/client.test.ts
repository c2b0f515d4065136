import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { monotonicClock } from '../../src/clock.ts'
import { FaultClient, type FaultClientOptions } from '../../src/fault/client.ts'
import { type Handshake, HandshakeReceiver, isClientGone } from '../../src/fault/handshake.ts'
import { PLACE, Userfaultfd } from '../../src/fault/userfaultfd.ts'
import { fillSyntheticPage } from '../../src/memory/synthetic.ts'
import { UFFD } from '../../src/native/abi.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import { UnixListener, WOULD_BLOCK } from '../../src/native/unix-socket.ts'
import { hugePagesFree, hugePagesOrSkipLoudly, userfaultfdOrSkipLoudly } from '../need.ts'

const PAGE = 4096

describe.skipIf(!userfaultfdOrSkipLoudly())('FaultClient', () => {
  let folder: string
  let listener: UnixListener
  let client: FaultClient | undefined
  let child: ChildProcess | undefined
  let handshake: Handshake | undefined
  const page = new NativeBuffer(2 << 20, PAGE)

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'faultlane-client-'))
    listener = new UnixListener(join(folder, 's'))
  })
  afterEach(() => {
    child?.kill('SIGKILL')
    client?.close()
    if (handshake) {
      libc().close(handshake.userfaultfd)
      libc().close(handshake.socket)
    }
    handshake = undefined
    client = undefined
    listener.close()
    rmSync(folder, { recursive: true })
  })

  async function receive(imageBytes: number): Promise<Handshake> {
    let socket = WOULD_BLOCK
    for (; socket === WOULD_BLOCK; await delay(1)) socket = listener.tryAccept()
    const receiver = new HandshakeReceiver(imageBytes, monotonicClock)
    receiver.begin(socket)
    for (;;) {
      const result = receiver.step()
      if (result !== 'waiting') {
        handshake = result
        return result
      }
      await delay(1)
    }
  }
  async function connect(options: Omit<FaultClientOptions, 'socketPath'>): Promise<Handshake> {
    client = new FaultClient({ socketPath: listener.path, ...options })
    return await receive(options.bytes)
  }

  /** A handler as small as can be: copies the pattern of the page in, until `done`. */
  async function handleFaults(session: Handshake, done: () => boolean): Promise<void> {
    const uffd = new Userfaultfd(session.userfaultfd)
    for (; !done(); await new Promise(setImmediate)) {
      const events = uffd.readEvents()
      for (let i = 0; i < events; i++) {
        expect(uffd.events.u8[i * UFFD.MSG_BYTES]).toBe(UFFD.EVENT_PAGEFAULT)
        const address =
          BigInt(uffd.events.u32[i * 8 + 5]!) * (1n << 32n) + BigInt(uffd.events.u32[i * 8 + 4]!)
        const region = session.regions.find((r) => address >= r.base && address < r.base + BigInt(r.bytes))!
        const at = address - (address % BigInt(session.pageSize))
        const firstPage = (region.offset + Number(at - region.base)) / PAGE
        for (let k = 0; k < session.pageSize / PAGE; k++) fillSyntheticPage(page.u32, k * 1024, firstPage + k)
        const copied = uffd.copy(Number(at >> 32n), Number(at & 0xffffffffn), page.address, session.pageSize)
        expect([session.pageSize, PLACE.EXISTS]).toContain(copied)
      }
    }
  }

  async function touchAll(session: Handshake, pages: number[]): Promise<[number, number, number][]> {
    const { address, bytes, pageSize } = client!
    const worker = new Worker(new URL('./touch-worker.mjs', import.meta.url), {
      workerData: { address, bytes, pageSize, pages },
    })
    const seen: [number, number, number][] = []
    let ended = false
    worker.on('message', (message) => seen.push(message))
    worker.on('exit', () => {
      ended = true
    })
    await handleFaults(session, () => ended)
    return seen
  }

  function patternOf(index: number, pageSize: number): [number, number, number] {
    const words = new Uint32Array(1024)
    fillSyntheticPage(words, 0, (index * pageSize) / PAGE)
    const first = words[0]!
    fillSyntheticPage(words, 0, ((index + 1) * pageSize) / PAGE - 1)
    return [index, first, words[1023]!]
  }

  it.each<[string, Omit<FaultClientOptions, 'socketPath' | 'bytes'>]>([
    ['as Firecracker does', {}],
    ['in the mappings dialect, cut into pieces', { dialect: 'mappings', pieces: 5, pauseMs: 1 }],
    ['in the nydus dialect, the descriptor last', { dialect: 'nydus', pieces: 3, descriptorWith: 'last' }],
    ['the descriptor alone, with others', { descriptorWith: 'none', extraDescriptors: 3 }],
    ['with as many regions as pages', { regions: 32 }],
    ['without privilege', { userModeOnly: true }],
  ])('faults through a handler: %s', async (_, options) => {
    const session = await connect({ bytes: 32 * PAGE, ...options })
    expect(session.regions).toHaveLength(options.regions ?? 1)
    expect(session.clientPid).toBe(process.pid)
    const pages = Array.from({ length: 32 }, (_, i) => (i * 7) % 32)
    expect(await touchAll(session, pages)).toEqual(pages.map((p) => patternOf(p, PAGE)))
  })

  it.skipIf(!hugePagesOrSkipLoudly(2))('faults with 2 MiB pages', async () => {
    const session = await connect({ bytes: 2 * (2 << 20), hugePages: true })
    expect(session.pageSize).toBe(2 << 20)
    expect(await touchAll(session, [1, 0])).toEqual([patternOf(1, 2 << 20), patternOf(0, 2 << 20)])
  })

  it('says when the system has no huge pages, and leaves nothing behind', () => {
    const before = readdirSync('/proc/self/fd').length
    const bytes = (hugePagesFree() + 1) * (2 << 20)
    expect(() => new FaultClient({ socketPath: listener.path, bytes, hugePages: true })).toThrow(
      /mmap.*ENOMEM/,
    )
    expect(() => new FaultClient({ socketPath: `${listener.path}x`, bytes: PAGE })).toThrow(/ENOENT/)
    expect(() => new FaultClient({ socketPath: listener.path, bytes: PAGE + 1 })).toThrow(/multiple of 4096/)
    expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  })

  it('is noticed when it hangs up', async () => {
    const session = await connect({ bytes: PAGE })
    const scratch = new NativeBuffer(64)
    expect(isClientGone(session.socket, scratch)).toBe(false)
    client?.close()
    expect(isClientGone(session.socket, scratch)).toBe(true)
  })

  it('is noticed when it is killed, by its socket and by the next placement', async () => {
    const program = fileURLToPath(new URL('./client-process.mjs', import.meta.url))
    child = spawn(process.execPath, [program, listener.path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    const session = await receive(16 * PAGE)
    expect(session.clientPid).toBe(child.pid)

    let said = ''
    child.stdout!.on('data', (data) => {
      said += data
    })
    await handleFaults(session, () => said.includes('[2,'))
    expect(said).toBe(`up\n${[0, 1, 2].map((p) => `${JSON.stringify(patternOf(p, PAGE))}\n`).join('')}`)

    child.kill('SIGKILL')
    expect(await ended).toEqual([null, 'SIGKILL']) // It had not ended by itself.
    expect(isClientGone(session.socket, new NativeBuffer(64))).toBe(true)
    const { baseHi, baseLo } = session.regions[0]!
    expect(new Userfaultfd(session.userfaultfd).copy(baseHi, baseLo + 8 * PAGE, page.address, PAGE)).toBe(
      PLACE.GONE,
    )
  })
})
