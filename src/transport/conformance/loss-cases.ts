/** The source dies without goodbye: the channel says so within a second, and no page is invented meanwhile. */
import { strict as assert } from 'node:assert'
import type { ConformanceCase, ConformanceHarness } from '../conformance.ts'
import { checkClosed } from './channel-cases.ts'
import { type Probe, pause } from './probe.ts'
import { isFailure, type Session, sessionCase } from './session.ts'

const LOSS_MS_MAX = 1000

export function lossCases(harness: ConformanceHarness): ConformanceCase[] {
  if (!harness.hasPeer) return []
  return [
    sessionCase(harness, 'source lost with reads in flight: CHANNEL_CLOSED within 1 s', async (session) => {
      const probes = [await session.open('demand'), await session.open('prefault')]
      for (const probe of probes) {
        const { readPagesMax, creditsMax, info } = probe.channel
        const pages = Math.min(28, readPagesMax)
        for (let id = 0; id < creditsMax; id++) probe.post(id, (id * pages) % (info.pageCount - pages), pages)
        probe.channel.flush()
        session.source.turn?.()
      }
      await loseSource(session, probes)
    }),
    sessionCase(
      harness,
      'source lost while idle: pollFd wakes, poll() throws within 1 s',
      async (session) => {
        const probes = [await session.open('demand'), await session.open('prefault')]
        for (const probe of probes) {
          probe.post(1, 0, 1)
          await probe.drain()
        }
        await loseSource(session, probes)
      },
    ),
    sessionCase(harness, 'source lost with reads posted and not flushed', async (session) => {
      const probe = await session.open('demand')
      for (let id = 0; id < 8; id++) probe.post(id, id, 1)
      await loseSource(session, [probe])
    }),
  ]
}

async function loseSource(session: Session, probes: readonly Probe[]): Promise<void> {
  await session.kill()
  const deadline = performance.now() + LOSS_MS_MAX
  for (const probe of probes) {
    const { channel } = probe
    while (channel.pollFd >= 0 && !probe.isPollFdReady() && !channel.armForPark()) {
      assert.ok(performance.now() < deadline, 'pollFd does not wake a thread whose source is lost')
      await pause()
    }
    await pollUntilClosed(probe, deadline)
    channel.close()
    channel.close()
    checkClosed(probe)
  }
}

async function pollUntilClosed(probe: Probe, deadline: number): Promise<void> {
  for (;;) {
    try {
      probe.channel.flush()
      // What had come before the loss may still be delivered: the probe checks every byte of it.
      probe.poll(8)
    } catch (error) {
      isFailure(error, 'CHANNEL_CLOSED')
      const { inFlight } = (error as { failure: { inFlight: number } }).failure
      assert.equal(inFlight, probe.reads.size, 'CHANNEL_CLOSED tells how many reads have no answer')
      assert.throws(
        () => probe.channel.tryPostRead(99, 0, 1),
        (again) => isFailure(again, 'CHANNEL_CLOSED'),
      )
      assert.throws(
        () => probe.poll(),
        (again) => isFailure(again, 'CHANNEL_CLOSED'),
      )
      return
    }
    assert.ok(performance.now() < deadline, `the loss was not told within ${LOSS_MS_MAX} ms`)
    await pause()
  }
}
