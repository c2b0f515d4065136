// A thread that really faults. Modes: seq, rand (each page of its share once), balloon (reads, writes and gives back
// single pages of its own share for some seconds; a page given back must read zero, or what was written since).
import { parentPort, workerData } from 'node:worker_threads'
import { fillSyntheticPage } from '../../dist/memory/synthetic.js'
import { MADV } from '../../dist/native/abi.js'
import { libc, viewOf } from '../../dist/native/libc.js'

const { gate, bytes, pageSize, thread, threads, mode, holesFrom, seconds, thinkMs, seed } = workerData
const wordsPerPage = pageSize / 4
const scale = pageSize / 4096
const want = new Uint32Array(wordsPerPage)
parentPort.postMessage('here')
Atomics.wait(gate, 0, 0n)
const address = Number(Atomics.load(gate, 0))
const views = []
const VIEW_BYTES = 1 << 30
for (let at = 0; at < bytes; at += VIEW_BYTES)
  views.push(new Uint32Array(viewOf(address + at, Math.min(VIEW_BYTES, bytes - at))))
const result = { touched: 0, wrong: 0, discarded: 0, firstWrong: '' }
let random = seed * 7919 + thread * 104729 + 1
function chance(below) {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0
  return Math.floor((random / 2 ** 32) * below)
}
function expectPage(page, fill) {
  const offset = page * pageSize
  const words = views[Math.floor(offset / VIEW_BYTES)]
  const at = (offset % VIEW_BYTES) / 4
  const first = words[at] // The fault.
  if (fill === 'image') for (let i = 0; i < scale; i++) fillSyntheticPage(want, i * 1024, page * scale + i)
  else want.fill(fill)
  result.touched++
  for (let i = 0; i < wordsPerPage; i++) {
    if (words[at + i] === want[i]) continue
    result.wrong++
    result.firstWrong ||= `page ${page} word ${i}: ${words[at + i]} (${first}), not ${want[i]} (${fill})`
    break
  }
}
const pages = Math.floor(bytes / pageSize)
const imageOr = (page) => (page * pageSize < holesFrom ? 'image' : 0)
if (mode === 'balloon') {
  const mine = []
  for (let page = thread; page < pages; page += threads) mine.push(page)
  const content = new Map()
  const until = performance.now() + seconds * 1000
  while (performance.now() < until) {
    // While a removal is under way the kernel lets nobody place; with pauses there is something to go wrong.
    if (thinkMs > 0) Atomics.wait(gate, 1, 0n, thinkMs)
    const page = mine[chance(mine.length)]
    const dice = chance(8)
    if (dice < 4) {
      // Gives a short run of its pages back, one call each: page by page, since neighbours are other threads'.
      if (libc().madvise(address + page * pageSize, pageSize, MADV.DONTNEED) !== 0) throw new Error('madvise')
      content.set(page, 0)
      result.discarded++
    } else if (dice === 4) {
      const value = chance(2 ** 31) + 1
      expectPage(page, content.get(page) ?? imageOr(page))
      const words = views[Math.floor((page * pageSize) / VIEW_BYTES)]
      words.fill(
        value,
        ((page * pageSize) % VIEW_BYTES) / 4,
        ((page * pageSize) % VIEW_BYTES) / 4 + wordsPerPage,
      )
      content.set(page, value)
    } else expectPage(page, content.get(page) ?? imageOr(page))
  }
  for (const [page, fill] of content) expectPage(page, fill)
} else {
  const order = []
  for (let page = thread; page < pages; page += threads) order.push(page)
  if (mode === 'rand') {
    for (let i = order.length - 1; i > 0; i--) {
      const j = chance(i + 1)
      ;[order[i], order[j]] = [order[j], order[i]]
    }
  }
  for (const page of order) expectPage(page, imageOr(page))
}
parentPort.postMessage(result)
