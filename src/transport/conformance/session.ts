/** One case's source and channels, given back whatever happens. */
import { strict as assert } from 'node:assert'
import type { ConformanceCase, ConformanceHarness, ConformanceSource } from '../conformance.ts'
import type { ChannelOptions, Lane } from '../transport.ts'
import { ConformanceImage, UNIT_BYTES } from './image.ts'
import { Probe } from './probe.ts'

/** Where the image with an unreadable tail ends, in 4 KiB pages: in the middle of a run of data. */
export const CUT_UNITS = 150

/** How long the suite waits for what must come. Generous: it decides between late and never. */
const PATIENCE_MS = 10_000

export class Session {
  readonly source: ConformanceSource
  readonly image: ConformanceImage
  readonly #patienceMs: number
  readonly #probes: Probe[] = []
  #isKilled = false

  constructor(source: ConformanceSource, image: ConformanceImage, patienceMs: number) {
    this.source = source
    this.image = image
    this.#patienceMs = patienceMs
  }

  async open(lane: Lane, options?: ChannelOptions): Promise<Probe> {
    const channel = await this.source.open(lane, options)
    const probe = new Probe(channel, this.image, this.#patienceMs, () => {
      if (!this.#isKilled) this.source.turn?.()
    })
    this.#probes.push(probe)
    assert.equal(channel.lane, lane)
    assert.ok(
      channel.readPagesMax >= 1 && channel.creditsMax >= 1,
      'readPagesMax and creditsMax are 1 at least',
    )
    assert.equal(channel.credits, channel.creditsMax, 'a fresh channel has all its credits')
    assert.equal(channel.bytesReceived, 0)
    return probe
  }

  async kill(): Promise<void> {
    assert.ok(this.source.kill, 'a harness with hasPeer has kill()')
    this.#isKilled = true
    await this.source.kill()
  }

  close(): void {
    for (const probe of this.#probes) probe.channel.close()
  }
}

/** A case that runs `body` with a source over the whole image, or over the one with an unreadable tail. */
export function sessionCase(
  harness: ConformanceHarness,
  name: string,
  body: (session: Session) => Promise<void>,
  readableUnits?: number,
): ConformanceCase {
  return {
    name,
    async run() {
      const image = new ConformanceImage(readableUnits && readableUnits * UNIT_BYTES)
      const source = await harness.start(image)
      const session = new Session(source, image, harness.patienceMs ?? PATIENCE_MS)
      try {
        await body(session)
      } finally {
        session.close()
        await source.stop()
      }
    },
  }
}

/** `error` is a FaultlaneError with this code. Told by its fields: the suite may be another copy of the package. */
export function isFailure(error: unknown, code: string): true {
  const { name, code: got } = error as { name?: string; code?: string }
  assert.equal(name, 'FaultlaneError', `a FaultlaneError, not ${String(error)}`)
  assert.equal(got, code, `code ${code}, not ${String(error)}`)
  return true
}
