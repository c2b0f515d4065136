/** Random operations on both lanes against the model, from a seed. */
import { strict as assert } from 'node:assert'
import type { ConformanceCase, ConformanceHarness } from '../conformance.ts'
import type { Lane } from '../transport.ts'
import { type Probe, pause } from './probe.ts'
import { Random } from './random.ts'
import { CUT_UNITS, isFailure, type Session, sessionCase } from './session.ts'

/** One channel in so many operations is closed, whatever it has in flight, and opened anew. */
const REOPEN_ONE_IN = 10_000
const OPERATIONS_PER_PAUSE = 64

export function randomCase(harness: ConformanceHarness, seed: number, operations: number): ConformanceCase {
  const name = `${operations} random operations agree with the model (seed ${seed})`
  const readable = harness.canFailToRead ? CUT_UNITS : undefined
  return sessionCase(harness, name, (session) => runRandom(session, new Random(seed), operations), readable)
}

async function runRandom(session: Session, random: Random, operations: number): Promise<void> {
  const lanes: readonly Lane[] = ['demand', 'prefault']
  const probes = [await session.open('demand'), await session.open('prefault')]
  let nextId = 0
  for (let n = 0; n < operations; n++) {
    const which = random.below(2)
    const probe = probes[which] as Probe
    const dice = random.below(100)
    session.source.turn?.()
    if (random.below(REOPEN_ONE_IN) === 0) {
      probe.channel.close()
      probes[which] = await session.open(lanes[which] as Lane)
    } else if (dice < 45) {
      // Unique among the reads in flight: they are far fewer than the ids.
      nextId = (nextId + 1 + random.below(1000)) & 0x7fff_ffff
      postAnywhere(probe, random, nextId)
    } else if (dice < 47) postOutside(probe, random)
    else if (dice < 55) probe.channel.flush()
    else if (dice < 57) probe.channel.armForPark()
    else probe.poll(random.below(9))
    if (n % OPERATIONS_PER_PAUSE === 0) await pause()
  }
  for (const probe of probes) await probe.drain()
}

/** Mostly short reads, sometimes the longest, often at the image's edges. */
function postAnywhere(probe: Probe, random: Random, id: number): void {
  const { readPagesMax, info } = probe.channel
  const longest = Math.min(info.pageCount, readPagesMax)
  const pages = random.below(50) === 0 ? longest : 1 + random.below(Math.min(8, longest))
  const last = info.pageCount - pages
  const edge = random.below(20)
  probe.post(id, edge === 0 ? 0 : edge === 1 ? last : random.below(last + 1), pages)
}

function postOutside(probe: Probe, random: Random): void {
  const { pageCount } = probe.channel.info
  const past = 1 + random.below(4)
  assert.throws(
    () => probe.channel.tryPostRead(0, pageCount - past + 1, past),
    (error) => isFailure(error, 'BAD_ARGUMENT'),
  )
  probe.checkCredits()
}
