/** Credits, bounds, parking and closing: how a channel behaves while its source lives. */
import { strict as assert } from 'node:assert'
import type { ConformanceCase, ConformanceHarness } from '../conformance.ts'
import { COMPLETION, type CompletionSink } from '../transport.ts'
import { type Probe, pause } from './probe.ts'
import { isFailure, sessionCase } from './session.ts'

const DEMANDS_BESIDE_BULK = 64

export function channelCases(harness: ConformanceHarness): ConformanceCase[] {
  return [
    sessionCase(harness, 'creditsMax reads and not one more; a credit comes back', async (session) => {
      for (const lane of ['demand', 'prefault'] as const) {
        const probe = await session.open(lane)
        const { creditsMax } = probe.channel
        for (const round of [0, 1]) {
          for (let id = 0; id < creditsMax; id++) {
            assert.ok(
              probe.post(id, (id + round) % probe.channel.info.pageCount, 1),
              `read ${id} of ${creditsMax}`,
            )
          }
          assert.equal(probe.channel.credits, 0)
          assert.equal(probe.post(creditsMax, 0, 1), false, 'one read too many is refused by value')
          await probe.drain()
          assert.equal(probe.channel.credits, creditsMax)
        }
        // One comes back, one can be posted.
        for (let id = 0; id < creditsMax; id++) probe.post(id, 0, 1)
        probe.channel.flush()
        while (probe.poll(1) === 0) {
          session.source.turn?.()
          await pause()
        }
        assert.equal(probe.channel.credits, 1)
        assert.ok(probe.post(creditsMax + 1, 1, 1))
        await probe.drain()
      }
    }),
    sessionCase(harness, 'a range outside the image is BAD_ARGUMENT and posts nothing', async (session) => {
      const { pageCount } = await session.source.describe()
      const probe = await session.open('demand')
      const { channel } = probe
      const ranges = [
        [0, 0],
        [0, -1],
        [-1, 1],
        [-1, 2],
        [pageCount, 1],
        [pageCount - 1, 2],
        [0, channel.readPagesMax + 1],
        [0x7fff_ffff, 1],
        [0x1_0000_0000, 1],
        [1, 0x7fff_ffff],
      ] as const
      for (const [first, pages] of ranges) {
        const post = () => channel.tryPostRead(1, first, pages)
        assert.throws(post, (error) => isFailure(error, 'BAD_ARGUMENT'), `${first}+${pages}`)
        probe.checkCredits()
      }
      // The channel is as good as new; anything the bad reads had left behind would have no read to belong to.
      channel.flush()
      probe.post(2, 0, 1)
      await probe.drain()
      for (let i = 0; i < 10; i++) {
        session.source.turn?.()
        assert.equal(probe.poll(), 0)
        await pause()
      }
    }),
    sessionCase(
      harness,
      'poll() delivers no more than it is asked for, and loses nothing',
      async (session) => {
        const probe = await session.open('prefault')
        const pages = Math.min(16, probe.channel.readPagesMax)
        for (const completionsMax of [1, 2, 3]) {
          for (let id = 0; id < Math.min(8, probe.channel.creditsMax); id++) probe.post(id, id * 16, pages)
          assert.equal(probe.poll(0), 0)
          await probe.drain(completionsMax)
        }
      },
    ),
    sessionCase(
      harness,
      'a thread that polls only when told so gets everything, and may sleep after',
      async (s) => {
        for (const lane of ['demand', 'prefault'] as const) {
          const probe = await s.open(lane)
          await probe.drainParking()
          for (let round = 0; round < 20; round++) {
            const pages = Math.min(1 + round, probe.channel.readPagesMax)
            for (let id = 0; id < Math.min(5, probe.channel.creditsMax); id++)
              probe.post(id, id * 20 + round, pages)
            await probe.drainParking()
          }
        }
      },
    ),
    sessionCase(harness, 'a stuffed bulk lane does not hold a demand completion', async (session) => {
      const bulk = await session.open('prefault')
      const demand = await session.open('demand')
      const { pageCount } = bulk.channel.info
      const pages = Math.min(bulk.channel.readPagesMax, 28)
      for (let id = 0; id < bulk.channel.creditsMax; id++)
        bulk.post(id, (id * pages) % (pageCount - pages), pages)
      // Handed to the wire and never polled: what comes back fills every buffer on its road and stays there.
      for (let turns = 0; turns < 100; turns++) {
        bulk.channel.flush()
        session.source.turn?.()
        await pause()
      }
      for (let i = 0; i < DEMANDS_BESIDE_BULK; i++) {
        demand.post(i, (i * 3) % pageCount, 1)
        await demand.drain()
      }
      assert.equal(bulk.reads.size, bulk.channel.creditsMax, 'bulk completes in its own poll() only')
      await bulk.drain()
    }),
    sessionCase(harness, 'close() in every state, more than once, and beside others', async (session) => {
      const fresh = await session.open('demand')
      const posted = await session.open('prefault')
      const flushed = await session.open('prefault')
      const half = await session.open('demand')
      const other = await session.open('demand')
      for (const probe of [posted, flushed, half]) for (let id = 0; id < 8; id++) probe.post(id, id * 16, 1)
      flushed.channel.flush()
      half.channel.flush()
      while (half.poll(1) === 0) {
        session.source.turn?.()
        await pause()
      }
      for (const probe of [fresh, posted, flushed, half]) {
        probe.channel.close()
        checkClosed(probe)
        probe.channel.close()
        checkClosed(probe)
      }
      other.post(1, 0, 1)
      await other.drain()
      const next = await session.open('prefault')
      next.post(1, next.channel.info.pageCount - 1, 1)
      await next.drain()
      assert.equal(next.pagesByKind[COMPLETION.CONTENT], 1)
    }),
  ]
}

const NOBODY: CompletionSink = {
  onCompletion() {
    assert.fail('a closed channel delivers nothing')
  },
}

/** A closed channel says so, and has no descriptor to sleep on. */
export function checkClosed(probe: Probe): void {
  const { channel } = probe
  assert.throws(
    () => channel.tryPostRead(99, 0, 1),
    (error) => isFailure(error, 'CHANNEL_CLOSED'),
  )
  assert.throws(
    () => channel.poll(NOBODY, 1),
    (error) => isFailure(error, 'CHANNEL_CLOSED'),
  )
  assert.equal(channel.pollFd, -1, 'pollFd is -1 once closed')
}
