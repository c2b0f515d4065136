/** A page source: opens the image, starts the thread that serves it, and closes both in reverse. */
import { FaultlaneError } from '../errors.ts'
import { type LevelName, requireLevels } from '../levels.ts'
import { Image } from '../memory/image.ts'
import { EventFd } from '../native/event-fd.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import type { Affinity } from '../workers/affinity.ts'
import type { ServePlan, WorkerMessage } from '../workers/plans.ts'
import { type RunningWorker, spawnWorker } from '../workers/spawn.ts'
import { schemeOf } from '../workers/transports.ts'
import type { WaitMode } from '../workers/wait.ts'
import { resolveUrl } from './resolve-url.ts'
import type { TouchingAhead } from './touch-ahead.ts'

export interface ServeOptions {
  /** Path of a memory image; its size a multiple of 4096. Exactly one of `image` and `synthetic`. */
  readonly image?: string
  /** Bytes of a synthetic image in the pattern of `pagebase image`. */
  readonly synthetic?: number
  /** `tcp://HOST:PORT` (port 0: any free one), or another transport's URL. */
  readonly listen: string
  /** How the source waits for requests. Default: adaptive. */
  readonly wait?: WaitMode
  /** The processor that its thread keeps to. Default: auto. */
  readonly affinity?: Affinity
  /** Levels to switch off, to see what each is worth. Default: none. */
  readonly without?: readonly LevelName[]
  /** Told how to stop, before there is anything that a sudden end would leave behind. */
  readonly onStarting?: (stop: () => Promise<void>) => void
  /** Bytes a second that the bulk of each destination is sent at, at most; demand is not held up. TCP only. */
  readonly pace?: number
  /** Emulates a network in front of all destinations: RATE/RTT[/QUEUE]. TCP only. */
  readonly link?: string
  /** Told who was turned away and why. */
  readonly onRefused?: (reason: string) => void
  /** Told when the source can go on no longer. */
  readonly onFailed?: (error: FaultlaneError) => void
}

export interface Serving {
  /** What destinations dial. */
  readonly url: string
  /** Identifies the frozen image: 16 hexadecimal digits. */
  readonly imageId: string
  /** Of the image. */
  readonly bytes: number
  /** How late the emulated link delivered demand replies: what it adds to the round trip asked for. */
  linkLateness(): LatencySnapshot
  /** How long demand replies stood in the emulated link's queue behind what it had taken before. */
  linkQueueing(): LatencySnapshot
  /** Resolves when the thread that serves has ended. */
  readonly closed: Promise<void>
  close(): Promise<void>
}

/** Levels of a source that does not answer through an emulated link. */
const LINK_HAS_ITS_OWN: readonly LevelName[] = ['order', 'quantum', 'fair']

/** Starts a source. Throws IMAGE_UNREADABLE, IMAGE_GEOMETRY, ADDRESS_IN_USE, BAD_ARGUMENT. */
export async function serve(options: ServeOptions): Promise<Serving> {
  if ((options.image === undefined) === (options.synthetic === undefined)) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'image of the source',
      got: options.image === undefined ? 'none' : 'two',
      expected: 'exactly one of image and synthetic',
    })
  }
  const url = await resolveUrl(options.listen)
  const without = requireLevels(options.without ?? [], 'serve', schemeOf(url))
  for (const [what, value] of [
    ['emulated link', options.link],
    ['pace', options.pace],
  ] as const) {
    if (value !== undefined && schemeOf(url) !== 'tcp')
      throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got: url, expected: 'a tcp:// source' })
  }
  const ordered = without.find((level) => options.link !== undefined && LINK_HAS_ITS_OWN.includes(level))
  if (ordered !== undefined) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'level of serve --without',
      got: ordered,
      expected: `none of ${LINK_HAS_ITS_OWN.join(', ')} with an emulated link, which has an order of its own`,
    })
  }
  const linkLateness = LatencyHistogram.allocate()
  const linkQueueing = LatencyHistogram.allocate()
  const image =
    options.image !== undefined
      ? Image.open(options.image)
      : await synthesize(options.synthetic ?? 0, schemeOf(url) !== 'tcp')
  const event = new EventFd()
  const bell = Doorbell.allocate()
  const plan: ServePlan = {
    url,
    image: image.description,
    wait: options.wait ?? 'adaptive',
    affinity: without.includes('affinity') ? 'off' : (options.affinity ?? 'auto'),
    without,
    pace: options.pace,
    link: options.link,
    linkLateness,
    linkQueueing,
    bell,
    bellFd: event.fd,
  }
  const onMessage = (message: WorkerMessage) => {
    if (message.kind === 'refused-peer') options.onRefused?.(message.reason)
    if (message.kind === 'failed') options.onFailed?.(new FaultlaneError(message.failure))
  }
  const doorbell = new Doorbell(bell, 0, { signal: () => event.signal(), sleep: () => {} })
  let worker: RunningWorker | undefined
  let touching: TouchingAhead | undefined
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= (async () => {
      doorbell.stop()
      await Promise.all([worker?.ended, touching?.stop()])
      event.close()
      image.close()
    })()
    return closing
  }
  options.onStarting?.(close)
  worker = spawnWorker('source', plan, onMessage)
  try {
    const ready = await worker.ready
    // Only what is our own: a file may be cut short, and to touch what is gone kills. And only where this process reads it.
    if (image.description.isOurs && schemeOf(url) === 'tcp') {
      // Loaded on use, as below. A stop that comes meanwhile has unmapped the image.
      const { touchAhead } = await import('./touch-ahead.ts')
      if (!closing) touching = touchAhead(image)
    }
    return {
      url: ready.url ?? url,
      imageId: image.description.id,
      bytes: image.description.bytes,
      linkLateness: () => new LatencyHistogram(linkLateness).snapshot(),
      linkQueueing: () => new LatencyHistogram(linkQueueing).snapshot(),
      closed: worker.ended,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Loaded on use: whoever embeds us does not pay for the pool that fills synthetic images. */
async function synthesize(bytes: number, isShared: boolean): Promise<Image> {
  const { makeSyntheticImage } = await import('./synthetic-image.ts')
  return makeSyntheticImage(bytes, isShared)
}
