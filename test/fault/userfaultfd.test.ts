import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PLACED } from '../../src/fault/fault-source.ts'
import { REGION_TABLE_WORDS, RegionTable } from '../../src/fault/region-table.ts'
import { type SharedWord, UffdFaults } from '../../src/fault/uffd-faults.ts'
import { UffdPlacer } from '../../src/fault/uffd-placer.ts'
import { PLACE, Userfaultfd } from '../../src/fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../../src/fault/userfaultfd-open.ts'
import { MAP, POLL, PROT, UFFD } from '../../src/native/abi.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { check, libc, viewOf } from '../../src/native/libc.ts'
import { PollSet } from '../../src/native/poll-set.ts'
import { userfaultfdOrSkipLoudly } from '../need.ts'

const PAGE = 4096
const PAGES = 32
const BYTES = PAGES * PAGE
const worker = (file: string) => new URL(file, import.meta.url)

/** What a FaultSource handed over. */
class Seen {
  readonly faults: number[] = []
  readonly removed: number[][] = []
  onFault(page: number): void {
    this.faults.push(page)
  }
  onRemove(firstPage: number, pageCount: number): void {
    this.removed.push([firstPage, pageCount])
  }
}

/** Nobody reads, nobody places. */
function idle(): [SharedWord, SharedWord] {
  const words = new Int32Array(2)
  return [
    { words, index: 0 },
    { words, index: 1 },
  ]
}

describe.skipIf(!userfaultfdOrSkipLoudly())('on real memory', () => {
  let fd: number
  let address: number
  let uffd: Userfaultfd
  let words: Uint32Array
  const workers: Worker[] = []
  const content = new NativeBuffer(BYTES, PAGE)
  content.u32.forEach((_, i) => {
    content.u32[i] = i + 1
  })
  const ready = new PollSet(1)

  beforeEach(() => {
    fd = openUserfaultfd().fd
    const flags = MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE
    address = check(libc().mmap(0, BYTES, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'test memory')
    registerMissing(fd, address, BYTES)
    uffd = new Userfaultfd(fd)
    words = new Uint32Array(viewOf(address, BYTES))
    ready.set(0, fd, POLL.IN)
  })
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((thread) => thread.terminate()))
    libc().close(fd)
    libc().munmap(address, BYTES)
  })

  const half = (page: number): [number, number] => {
    const at = address + page * PAGE
    return [Math.floor(at / 2 ** 32), at % 2 ** 32]
  }
  const copy = (page: number, pages = 1) =>
    uffd.copy(...half(page), content.address + page * PAGE, pages * PAGE)
  const word = (page: number) => words[page * 1024]
  const contentWord = (page: number) => content.u32[page * 1024]

  /** Starts a thread that touches pages; its messages say what it read. */
  function touch(pages: number[]): Worker {
    const data = { address, bytes: BYTES, pageSize: PAGE, pages }
    const thread = new Worker(worker('./touch-worker.mjs'), { workerData: data })
    workers.push(thread)
    return thread
  }
  /** Starts a thread that discards; it stands still until its event is read. */
  function discard(page: number, pages: number): Worker {
    const data = { address: address + page * PAGE, bytes: pages * PAGE }
    const thread = new Worker(worker('./discard-worker.mjs'), { workerData: data })
    workers.push(thread)
    return thread
  }
  async function eventComes(): Promise<void> {
    while (ready.wait(0) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }

  /** Two regions: pages 0..15 of memory are pages 100..115 of the image, pages 16..31 are 10..25. */
  function twoRegions(): RegionTable {
    const table = new RegionTable(new Int32Array(REGION_TABLE_WORDS), 0)
    const [hi, lo] = half(0)
    const [hi2, lo2] = half(16)
    table.set(PAGE, [
      { baseHi: hi, baseLo: lo, firstPage: 100, pageCount: 16 },
      { baseHi: hi2, baseLo: lo2, firstPage: 10, pageCount: 16 },
    ])
    return table
  }

  describe('Userfaultfd', () => {
    it('copies, one page or many, and says when a page exists', () => {
      expect(copy(3)).toBe(PAGE)
      expect(word(3)).toBe(contentWord(3))
      expect(copy(3)).toBe(PLACE.EXISTS)
      expect(copy(8, 4)).toBe(4 * PAGE)
      expect([8, 9, 10, 11].map(word)).toEqual([8, 9, 10, 11].map(contentWord))
    })

    it('says how much of a copy was done when a later page exists', () => {
      expect(copy(6)).toBe(PAGE)
      expect(copy(4, 4)).toBe(2 * PAGE)
      expect(copy(6, 2)).toBe(PLACE.EXISTS)
      expect(copy(7)).toBe(PAGE)
    })

    it('maps zeros, and gives memory back to the kernel', () => {
      expect(uffd.zeropage(...half(0), 2 * PAGE)).toBe(2 * PAGE)
      expect(word(1)).toBe(0)
      expect(uffd.zeropage(...half(1), PAGE)).toBe(PLACE.EXISTS)
      expect(uffd.unregister(...half(0), BYTES)).toBe(BYTES)
      expect(word(20)).toBe(0) // Missing, and nobody's business any more.
      expect(uffd.wake(...half(0), PAGE)).toBe(PAGE)
    })

    it('reads a fault and lets the thread go on', async () => {
      expect(uffd.readEvents()).toBe(0)
      const thread = touch([5])
      await eventComes()
      expect(uffd.readEvents()).toBe(1)
      expect(uffd.events.u8[0]).toBe(UFFD.EVENT_PAGEFAULT)
      expect([uffd.events.u32[5], uffd.events.u32[4]]).toEqual(half(5))
      copy(5)
      expect(await once(thread, 'message')).toEqual([[5, contentWord(5), content.u32[6 * 1024 - 1]]])
    })

    it('says AGAIN while a removal is unread, and the range then reads as it was left', async () => {
      copy(2, 2)
      const thread = discard(2, 2)
      await eventComes()
      expect(copy(9)).toBe(PLACE.AGAIN)
      expect(uffd.zeropage(...half(9), PAGE)).toBe(PLACE.AGAIN)
      expect(uffd.readEvents()).toBe(1)
      expect(uffd.events.u8[0]).toBe(UFFD.EVENT_REMOVE)
      expect([uffd.events.u32[3], uffd.events.u32[2]]).toEqual(half(2))
      expect([uffd.events.u32[5], uffd.events.u32[4]]).toEqual(half(4))
      expect(await once(thread, 'message')).toEqual([0])
      expect(copy(9)).toBe(PAGE)
      expect(uffd.zeropage(...half(2), 2 * PAGE)).toBe(2 * PAGE) // Missing again.
      expect([2, 3].map(word)).toEqual([0, 0])
    })

    it('says UNMAPPED for memory that is no more, GONE for a dead descriptor, and FAILED with its errno for nonsense', () => {
      expect(uffd.copy(...half(0), content.address + 1, PAGE - 1)).toBe(PLACE.FAILED)
      expect(uffd.errno).toBeGreaterThan(0)
      libc().munmap(address, BYTES)
      expect(copy(0)).toBe(PLACE.UNMAPPED)
      const dead = new Userfaultfd(-1)
      expect(dead.readEvents()).toBe(-1)
      expect(dead.copy(0, 0, content.address, PAGE)).toBe(PLACE.GONE)
    })
  })

  describe('UffdFaults and UffdPlacer', () => {
    it('turn addresses into pages of the image and back, region by region', async () => {
      const regions = twoRegions()
      const faults = new UffdFaults(uffd, regions, ...idle())
      const placer = new UffdPlacer(uffd, regions)
      const seen = new Seen()
      expect(faults.pollFaults(seen)).toBe(0)
      const threads = [touch([3]), touch([17])]
      while (seen.faults.length < 2) {
        await eventComes()
        faults.pollFaults(seen)
      }
      expect(seen.faults.sort((a, b) => a - b)).toEqual([11, 103])
      expect(placer.place(103, 1, content.address + 3 * PAGE)).toBe(1)
      expect(placer.placeZero(11, 1)).toBe(1)
      const [three, seventeen] = await Promise.all(
        threads.map(async (thread) => (await once(thread, 'message'))[0]),
      )
      expect(three).toEqual([3, contentWord(3), content.u32[4 * 1024 - 1]])
      expect(seventeen).toEqual([17, 0, 0])
      expect(faults.strays).toBe(0)
    })

    it('take faults and no removal while another thread has a placement open', async () => {
      const [reading, placing] = idle()
      const faults = new UffdFaults(uffd, twoRegions(), reading, placing)
      const seen = new Seen()
      const discarding = discard(12, 2)
      await eventComes()
      placing.words[placing.index] = 1
      expect(faults.pollFaults(seen)).toBe(0)
      const touching = [touch([3]), touch([5])]
      while (seen.faults.length < 2) {
        faults.pollFaults(seen)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      expect(faults.pollFaults(seen)).toBe(0)
      expect(seen.faults.sort((a, b) => a - b)).toEqual([103, 105])
      expect(seen.removed).toEqual([])

      placing.words[placing.index] = 0
      expect(faults.pollFaults(seen)).toBe(1)
      expect(seen.removed).toEqual([[112, 2]])
      expect(await once(discarding, 'message')).toEqual([0])
      expect([reading.words[reading.index], faults.racedRemovals]).toEqual([0, 0])
      const placer = new UffdPlacer(uffd, twoRegions())
      for (const page of [103, 105]) placer.place(page, 1, content.address)
      await Promise.all(touching.map((thread) => once(thread, 'message')))
      faults.close()
    })

    it('cut a removal at the regions', async () => {
      const faults = new UffdFaults(uffd, twoRegions(), ...idle())
      const seen = new Seen()
      const thread = discard(12, 8)
      await eventComes()
      expect(faults.pollFaults(seen)).toBe(1)
      await once(thread, 'message')
      expect(seen.removed).toEqual([
        [112, 4],
        [10, 4],
      ])
      expect(seen.faults).toEqual([])
    })

    it('place over what exists and over the edge of a region, and stop at AGAIN', async () => {
      const regions = twoRegions()
      const placer = new UffdPlacer(uffd, regions)
      copy(1)
      expect(placer.place(100, 4, content.address)).toBe(4) // Page 101 exists: it stays as it is.
      expect(placer.existed).toBe(1)
      expect(placer.status).toBe(PLACED.ALL)
      expect([0, 1, 2, 3].map(word)).toEqual([0, 1, 2, 3].map(contentWord))
      expect(placer.place(114, 8, content.address)).toBe(8) // Pages 116 to 121 are outside.

      const thread = discard(20, 1)
      await eventComes()
      expect(placer.place(15, 2, content.address)).toBe(0)
      expect(placer.status).toBe(PLACED.AGAIN)
      new UffdFaults(uffd, regions, ...idle()).pollFaults(new Seen())
      await once(thread, 'message')
      expect(placer.place(15, 2, content.address)).toBe(2)
    })

    it('leave out what the client has unmapped, and place the rest of the run', () => {
      const placer = new UffdPlacer(uffd, twoRegions())
      libc().munmap(address + 2 * PAGE, PAGE)
      expect(placer.place(100, 4, content.address)).toBe(4)
      expect([placer.status, placer.unmapped]).toEqual([PLACED.ALL, 1])
      expect([0, 1, 3].map(word)).toEqual([0, 1, 3].map(contentWord))
      expect(placer.placeZero(102, 1)).toBe(1)
      expect(placer.unmapped).toBe(2)
    })

    it('say GONE when the client is, and try again what may pass', () => {
      const gone = new UffdPlacer(new Userfaultfd(-1), twoRegions())
      expect([gone.place(100, 1, content.address), gone.status]).toEqual([0, PLACED.GONE])
      const placer = new UffdPlacer(uffd, twoRegions())
      expect(placer.place(100, 1, 8 * PAGE + 1)).toBe(0) // Nobody's memory to copy from: EFAULT.
      expect(placer.status).toBe(PLACED.AGAIN)
      expect(placer.place(100, 1, content.address)).toBe(1)
    })
  })
})

describe('openUserfaultfd', () => {
  const unprivileged = readFileSync('/proc/sys/vm/unprivileged_userfaultfd', 'utf8').trim() === '1'
  let open = unprivileged
  try {
    accessSync('/dev/userfaultfd', constants.R_OK | constants.W_OK)
  } catch {
    open = true // Not even root may: nothing to compare with.
  }
  it.skipIf(process.getuid?.() !== 0 || open)('serves an ordinary user with faults of user mode', () => {
    const program = fileURLToPath(worker('./unprivileged-process.mjs'))
    expect(execFileSync(process.execPath, [program], { encoding: 'utf8' })).toBe('user-mode-only')
  })

  it.skipIf(process.getuid?.() !== 0 || open)('names the three remedies where the kernel refuses it', () => {
    const program = fileURLToPath(worker('./refused-process.mjs'))
    const said = execFileSync(process.execPath, [program], { encoding: 'utf8' })
    expect(said).toMatch(
      /^NO_USERFAULTFD: this kernel refuses userfaultfd \(.*EPERM.*\); any one of these helps: /,
    )
    for (const remedy of ['CAP_SYS_PTRACE', '/dev/userfaultfd', 'sysctl vm.unprivileged_userfaultfd=1'])
      expect(said).toContain(remedy)
  })
})
