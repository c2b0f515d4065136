/** An emulated link as a user writes it: RATE/RTT[/QUEUE], e.g. `1Gbit/100us/256KiB`. */
import { FaultlaneError } from '../../errors.ts'

export interface LinkSpec {
  /** 0: as fast as the machine. */
  readonly bytesPerSecond: number
  readonly rttNs: number
  /** Bytes that may stand in the bottleneck's queue. */
  readonly queueBytes: number
}

/** 256 KiB: about what a small switch has for one port; 2 ms at 1 Gbit/s. */
const QUEUE_BYTES = 256 * 1024

/** In any case, as `tc` takes it. */
const RATE = /^(\d+(?:\.\d+)?)([kmg])bit$/i
const RTT = /^(\d+(?:\.\d+)?)(us|ms|s)$/
const QUEUE = /^(\d+(?:\.\d+)?)(KiB|MiB)$/
const FACTORS: Record<string, number> = {
  k: 1e3,
  m: 1e6,
  g: 1e9,
  us: 1e3,
  ms: 1e6,
  s: 1e9,
  KiB: 1024,
  MiB: 1024 * 1024,
}

export function parseLink(text: string): LinkSpec {
  const [rateText = '', rttText = '', queueText, ...more] = text.split('/')
  const rate = rateText === 'max' ? 0 : read(RATE, rateText)
  const rttNs = rttText === '0' ? 0 : read(RTT, rttText)
  const queueBytes = queueText === undefined ? QUEUE_BYTES : read(QUEUE, queueText)
  if (!(rate >= 0) || !(rttNs >= 0) || !(queueBytes >= 4096) || more.length > 0) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'emulated link',
      got: text,
      expected:
        'RATE/RTT[/QUEUE] with a queue of 4 KiB at least, e.g. 1Gbit/100us/256KiB, 10Gbit/0 or max/6ms',
    })
  }
  return { bytesPerSecond: rate / 8, rttNs, queueBytes }
}

function read(pattern: RegExp, text: string): number {
  const match = pattern.exec(text)
  return match
    ? Number(match[1]) *
        (FACTORS[match[2] as string] ?? FACTORS[(match[2] as string).toLowerCase()] ?? Number.NaN)
    : Number.NaN
}
