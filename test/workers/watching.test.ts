import { geteuid } from 'node:process'
import { describe, expect, it } from 'vitest'
import { StillWatch } from '../../src/bench-kit/still-watch.ts'
import { endWatching, stillUs, WATCHING_WORDS, watch } from '../../src/workers/watching.ts'

describe('watching', () => {
  it('counts what a sleep took beyond its 2 ms, from 1 ms on, and ends when told', () => {
    const words = new Int32Array(new SharedArrayBuffer(WATCHING_WORDS * 4))
    const sleptMs = [2, 2.9, 3, 2, 32, 2.5]
    let nowNs = 5e9
    watch(words, {
      nowNs: () => {
        const atNs = nowNs
        const nextMs = sleptMs.shift()
        if (nextMs === undefined) endWatching(words)
        else nowNs += nextMs * 1e6
        return atNs
      },
    })
    expect(stillUs(words)).toBe(1000 + 30_000)
  })

  it('with the right to go first there is a watch, which ends; without it there is none', async () => {
    const watching = await StillWatch.start()
    if (!watching) {
      expect(geteuid?.()).not.toBe(0)
      return
    }
    const [earlier, later] = [watching.ms(), watching.ms()]
    expect(earlier >= 0 && later >= earlier).toBe(true)
    await watching.end()
  })
})
