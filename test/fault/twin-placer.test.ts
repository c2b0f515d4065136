import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { Errand, NOT_BEGUN } from '../../src/fault/errand.ts'
import { PLACED, type Placer } from '../../src/fault/fault-source.ts'
import { TwinPlacer } from '../../src/fault/twin-placer.ts'
import { libc } from '../../src/native/libc.ts'

const PAGE = 4096
const ADDRESS = 0x7fff_8765_4000
const USERFAULTFD = 7

/** What a kernel does that takes pages up to a barrier, and has had some before. */
class Kernel {
  readonly here = new Set<number>()
  barrier = Infinity
  status: number = PLACED.ALL

  place(firstPage: number, pageCount: number, address: number): number {
    expect(address).toBe(ADDRESS + firstPage * PAGE)
    const done = Math.max(0, Math.min(pageCount, this.barrier - firstPage))
    this.status = done === pageCount ? PLACED.ALL : PLACED.AGAIN
    for (let page = firstPage; page < firstPage + done; page++) this.here.add(page)
    return done
  }
}

/** The calling thread's placer; `onPlace` is where the helper may get the processor. */
function placerOf(kernel: Kernel, onPlace: () => void): Placer {
  return {
    get status() {
      return kernel.status
    },
    place: (page, pages, address) => {
      const done = kernel.place(page, pages, address)
      const status = kernel.status
      onPlace()
      kernel.status = status
      return done
    },
    placeZero: () => 0,
    wake: () => {},
    lose: () => {},
  }
}

/** One turn of the helper. */
function help(errand: Errand, kernel: Kernel): void {
  if (!errand.tryTake()) return
  expect(errand.userfaultfd).toBe(USERFAULTFD)
  const placed = kernel.place(errand.firstPage, errand.pageCount, errand.address)
  errand.finish(placed, kernel.status)
}

function errandWithHelper(): Errand {
  const errand = new Errand(Errand.allocate())
  errand.helper = libc().gettid() // Whoever it is, it may be sent to another processor.
  return errand
}

describe('a run placed from two threads', () => {
  it('is placed once, all of it or up to where the kernel stopped, whether the helper comes or not', () => {
    const runs = fc.record({ first: fc.nat(500), pages: fc.integer({ min: 1, max: 300 }) })
    fc.assert(
      fc.property(runs, fc.boolean(), fc.nat(900), ({ first, pages }, comes, barrier) => {
        const kernel = new Kernel()
        kernel.barrier = barrier
        const errand = errandWithHelper()
        const own = placerOf(kernel, () => comes && help(errand, kernel))
        const twin = new TwinPlacer(own, errand, USERFAULTFD, PAGE, [])
        const placed = twin.place(first, pages, ADDRESS + first * PAGE)
        expect(placed).toBe(Math.max(0, Math.min(pages, barrier - first)))
        expect(twin.status).toBe(placed === pages ? PLACED.ALL : PLACED.AGAIN)
        for (let page = first; page < first + placed; page++) expect(kernel.here.has(page)).toBe(true)
        expect(errand.isGiven).toBe(false)
      }),
    )
  })

  it('is not halved while it is short, nor before there is a helper', () => {
    const calls: number[][] = []
    const own = {
      ...placerOf(new Kernel(), () => {}),
      place: (page: number, pages: number) => calls.push([page, pages]) && pages,
    }
    new TwinPlacer(own, errandWithHelper(), USERFAULTFD, PAGE, []).place(1, 63, ADDRESS)
    new TwinPlacer(own, new Errand(Errand.allocate()), USERFAULTFD, PAGE, []).place(2, 256, ADDRESS)
    expect(calls).toEqual([
      [1, 63],
      [2, 256],
    ])
  })
})

describe('an errand', () => {
  const workers: Worker[] = []
  afterEach(async () => {
    for (const worker of workers.splice(0)) await worker.terminate()
  })

  it('carries an address of the last byte that a process has', () => {
    const errand = new Errand(Errand.allocate())
    errand.give(3, 1, 2, 0x7fff_ffff_f000)
    expect(errand.tryTake()).toBe(true)
    expect(errand.tryTake()).toBe(false)
    expect([errand.firstPage, errand.pageCount, errand.address]).toEqual([1, 2, 0x7fff_ffff_f000])
    errand.finish(2, PLACED.ALL)
    expect(errand.settle()).toBe(2)
  })

  it("is somebody's, and done once, whoever gets there first", async () => {
    const words = Errand.allocate()
    const errand = new Errand(words)
    const url = new URL('../../dist/fault/errand.js', import.meta.url).href
    const helper = `
      const { workerData } = require('node:worker_threads')
      import(${JSON.stringify(url)}).then(({ Errand }) => {
        const errand = new Errand(workerData)
        while (!errand.bell.isStopped()) if (errand.tryTake()) errand.finish(errand.firstPage + 1, 0)
      })`
    workers.push(new Worker(helper, { eval: true, workerData: words }))
    let [taken, back] = [0, 0]
    for (let n = 0; taken < 200 || back < 200; n++) {
      errand.give(0, n % 1000, 1, ADDRESS)
      for (let looks = n % 512; looks > 0; looks--) Atomics.load(words, 0)
      const placed = errand.settle()
      if (placed === NOT_BEGUN) back++
      else {
        expect(placed).toBe((n % 1000) + 1)
        taken++
      }
      if (n % 1000 === 999) await new Promise((resolve) => setImmediate(resolve)) // Its thread is still starting.
    }
    errand.bell.stop()
  }, 30_000)

  it('of a thread that has died in it is given up once it is told to stop', () => {
    const errand = new Errand(Errand.allocate())
    errand.give(0, 1, 1, ADDRESS)
    errand.tryTake()
    errand.bell.stop()
    expect(errand.settle()).toBe(0)
    expect(errand.status).toBe(PLACED.AGAIN)
  })
})
