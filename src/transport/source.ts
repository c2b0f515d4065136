/**
 * The source half of a transport: one agent serves one frozen image to any number of destinations. It belongs to
 * one thread, never blocks in doWork(), and answers demand before it sends another quantum of bulk.
 */
import type { LevelName } from '../levels.ts'
import type { ImageDescription } from '../memory/image.ts'

export interface SourceStats {
  /** Destinations' channels open now. */
  channels: number
  pagesSent: number
  zeroPagesSent: number
  bytesSent: number
  errorsSent: number
  /** Connections refused because they did not speak the protocol. */
  refused: number
}

export interface SourceAgent {
  /** What destinations dial, with the port that was really bound. */
  readonly url: string
  readonly stats: SourceStats
  /** One bounded turn; how much was done, 0 when idle. */
  doWork(): number
  /** Sleeps until there may be work, at most `timeoutMs`, or until `wakeFd` becomes readable. */
  park(timeoutMs: number): void
  close(): void
}

export interface SourceOptions {
  /** An eventfd that ends park(). −1: none. */
  readonly wakeFd: number
  /**
   * Called when demand has been answered: whoever waits for the reply may share this processor, and would not see it
   * before all bulk that is queued has been sent. Absent: everybody has a processor.
   */
  readonly giveWay?: (() => void) | undefined
  /** Levels that are switched off; a transport that does not have them lets them be. */
  readonly without?: readonly LevelName[]
  /** Bytes a second that each destination's bulk is sent at, at most. A transport that cannot throws BAD_ARGUMENT. */
  readonly paceBytesPerSecond?: number | undefined
  /** Emulate a link of RATE/RTT[/QUEUE] in front of all destinations. A transport that cannot throws BAD_ARGUMENT. */
  readonly link?: string
  /** Shared memory of a LatencyHistogram: how late the emulated link delivered demand replies. */
  readonly linkLateness?: Int32Array<SharedArrayBuffer>
  /** The same: how long demand replies stood in its queue. */
  readonly linkQueueing?: Int32Array<SharedArrayBuffer>
  /** Told who was turned away or cut off, and why. */
  readonly onRefused?: (reason: string) => void
}

export interface SourceTransport {
  readonly schemes: readonly string[]
  /** Throws ADDRESS_IN_USE, BAD_ARGUMENT, SYSTEM. */
  listen(url: string, image: ImageDescription, options: SourceOptions): SourceAgent
}
