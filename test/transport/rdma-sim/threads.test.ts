/** The loop in one thread, driven by a real clock; poster and poller in another. They share rings and bytes alone. */
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { expect, it } from 'vitest'
import { Pair } from './pair.ts'

const PAGE = 4096
const PAGES = 16

it('READs posted in another thread are carried out there and back, every byte right', async () => {
  const depth = 16
  const pair = new Pair({ depth, memoryBytes: PAGES * PAGE })
  const { a, b } = pair
  for (let page = 0; page < PAGES; page++) b.bytes.fill(page + 1, page * PAGE, (page + 1) * PAGE)
  const worker = new Worker(new URL('./fixtures/poster.mjs', import.meta.url), {
    workerData: {
      sendRing: a.qp.sender.ring,
      cqRing: a.sendCq.ring,
      qpNumber: a.qp.number,
      depth,
      count: 2000,
      pageBytes: PAGE,
      local: { address: a.memory.address, key: a.memory.key },
      remote: { address: b.memory.address, key: b.memory.key, pages: PAGES },
      bytes: a.bytes,
    },
  })
  let answer: { done: number; wrong: number } | null = null
  const answered = once(worker, 'message').then(([message]) => {
    answer = message
  })
  const startMs = performance.now()
  while (answer === null) {
    for (let turn = 0; turn < 200; turn++)
      pair.fabric.advanceTo(Math.floor((performance.now() - startMs) * 1e9))
    await setImmediate() // Lets the answer in.
  }
  await answered
  await worker.terminate()
  expect(answer).toMatchObject({ done: 2000, wrong: 0 })
})
