/** Transports that break one law each, made from a good one: what the conformance suite must catch. */
import { FaultlaneError } from '../../src/errors.ts'
import { NativeBuffer } from '../../src/native/buffer.ts'
import { libc } from '../../src/native/libc.ts'
import type { ConformanceHarness, ConformanceSource } from '../../src/transport/conformance.ts'
import {
  type Channel,
  type ChannelOptions,
  COMPLETION,
  type CompletionSink,
  type ImageInfo,
  type Lane,
} from '../../src/transport/transport.ts'

type Part = [workId: number, firstPage: number, pageCount: number, kind: number, address: number]
export type Tamper = (channel: Channel) => Partial<Channel>

/** The channel with some members replaced. Private fields stay reachable: the rest runs on the channel itself. */
export function tampered(channel: Channel, changes: Partial<Channel>): Channel {
  return new Proxy(channel, {
    get(target, key) {
      const owner = key in changes ? changes : target
      const value = Reflect.get(owner, key, owner)
      return typeof value === 'function' ? value.bind(owner) : value
    },
  })
}

/** A tamper that changes what poll() delivers: each part becomes the parts that `change` gives back. */
export function deliver(change: (part: Part, channel: Channel) => Part[]): Tamper {
  return (channel) => ({
    poll(sink, completionsMax) {
      let delivered = 0
      const between: CompletionSink = {
        onCompletion(...part) {
          for (const changed of change(part, channel)) {
            delivered++
            sink.onCompletion(...changed)
          }
        },
      }
      channel.poll(between, completionsMax)
      return delivered
    },
  })
}

/** The same for the parts of one kind. */
export function deliverKind(kind: number, change: (part: Part, channel: Channel) => Part[]): Tamper {
  return deliver((part, channel) => (part[3] === kind ? change(part, channel) : [part]))
}

/** A copy of a part's pages, for changing. Kept by the caller until the sink has returned. */
export function copyOf(part: Part, channel: Channel): NativeBuffer {
  const bytes = part[2] * channel.info.pageSize
  const copy = new NativeBuffer(bytes)
  if (part[3] === COMPLETION.CONTENT) libc().memcpy(copy.address, part[4], bytes)
  return copy
}

export function isClosedError(error: unknown): boolean {
  return error instanceof FaultlaneError && error.code === 'CHANNEL_CLOSED'
}

export interface Changes {
  readonly tamper?: Tamper
  open?(source: ConformanceSource, lane: Lane, options?: ChannelOptions): Channel | Promise<Channel>
  describe?(source: ConformanceSource, options?: ChannelOptions): Promise<ImageInfo>
}

/** What is broken, the case that must notice by a part of its name, the message, and how it is broken. */
export type Broken = readonly [what: string, caseName: string, message: RegExp, changes: Changes]

/** `harness` with every channel tampered with, and an impatient suite. */
export function tamperedHarness(harness: ConformanceHarness, changes: Changes): ConformanceHarness {
  return {
    ...harness,
    patienceMs: 300,
    async start(image) {
      const source = await harness.start(image)
      return {
        ...source,
        async open(lane, options) {
          const channel = await (changes.open?.(source, lane, options) ?? source.open(lane, options))
          return changes.tamper ? tampered(channel, changes.tamper(channel)) : channel
        },
        async describe(options) {
          return changes.describe ? changes.describe(source, options) : source.describe(options)
        },
      }
    },
  }
}

/** `harness` with one source for all cases that do not kill it. */
export function sharedHarness(harness: ConformanceHarness): ConformanceHarness & { stop(): Promise<void> } {
  const sources = new Map<number, ConformanceSource>()
  return {
    ...harness,
    async start(image) {
      const found = sources.get(image.readableBytes)
      const source = found ?? (await harness.start(image))
      sources.set(image.readableBytes, source)
      const { kill } = source
      return {
        ...source,
        async kill() {
          sources.delete(image.readableBytes)
          await kill?.()
          await source.stop()
        },
        stop() {},
      }
    },
    async stop() {
      for (const source of sources.values()) await source.stop()
    },
  }
}
