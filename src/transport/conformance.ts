/**
 * The contract of transport.ts as cases that any Transport can be run against: `faultlane/conformance`. Needs no
 * test framework: a case is a name and a function that throws.
 *
 * What to bring is a harness: a way to put a source over a small image that the suite makes. A harness in full:
 *
 *     const harness = {
 *       hasPeer: true, canFailToRead: true,
 *       start(image) {
 *         image.writeTo(path)                      // a sparse file; image.content has the same bytes
 *         const child = spawn(… serve path …)      // or a worker, or an object in this thread with turn()
 *         image.cut(path)                          // once the source has it open: makes the tail unreadable
 *         return {
 *           open: (lane, options) => transport.open(url, lane, options),
 *           describe: (options) => transport.describe(url, options),
 *           kill: () => …SIGKILL, and wait for the exit…,
 *           stop: () => …and remove the file…,
 *         }
 *       },
 *     }
 *     for (const { name, run } of conformanceCases(harness)) test(name, run)
 *
 * Each case starts a source of its own and stops it. No case judges speed: deadlines tell late from never.
 */

import { channelCases } from './conformance/channel-cases.ts'
import { deliveryCases } from './conformance/delivery-cases.ts'
import type { ConformanceImage } from './conformance/image.ts'
import { lossCases } from './conformance/loss-cases.ts'
import { Random } from './conformance/random.ts'
import { randomCase } from './conformance/random-case.ts'
import type { Channel, ChannelOptions, ImageInfo, Lane } from './transport.ts'

export type { ConformanceImage } from './conformance/image.ts'

/** A source at work over one image, and the transport that reaches it. */
export interface ConformanceSource {
  open(lane: Lane, options?: ChannelOptions): Channel | Promise<Channel>
  describe(options?: ChannelOptions): ImageInfo | Promise<ImageInfo>
  /** Gives the source one turn; left out where it runs by itself. */
  turn?(): void
  /** Ends the source without goodbye, and resolves when it is dead. Required with `hasPeer`. */
  kill?(): void | Promise<void>
  /** Ends the source in order; also called after kill(). */
  stop(): void | Promise<void>
}

export interface ConformanceHarness {
  /** There is a peer that can be lost. False for a transport that reads from something that does not live. */
  readonly hasPeer: boolean
  /** The harness can make pages unreadable (`image.cut` or its own way, from `image.readableBytes` on). */
  readonly canFailToRead: boolean
  /** How long a case waits for what must come before it calls it lost. Default: 10,000. */
  readonly patienceMs?: number
  start(image: ConformanceImage): ConformanceSource | Promise<ConformanceSource>
}

export interface ConformanceOptions {
  /** Of the random case; printed in its name. Default: another one every time. */
  readonly seed?: number
  /** Operations of the random case. Default: 100,000. */
  readonly operations?: number
}

export interface ConformanceCase {
  readonly name: string
  run(): Promise<void>
}

export function conformanceCases(
  harness: ConformanceHarness,
  options: ConformanceOptions = {},
): ConformanceCase[] {
  const seed =
    options.seed ?? new Random(Math.floor(performance.timeOrigin + performance.now())).below(2 ** 31)
  return [
    ...deliveryCases(harness),
    ...channelCases(harness),
    ...lossCases(harness),
    randomCase(harness, seed, options.operations ?? 100_000),
  ]
}
