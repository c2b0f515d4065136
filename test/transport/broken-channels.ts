/** Transports whose channels keep wrong count, park badly, close badly, or mix up who is who. */
import { FaultlaneError } from '../../src/errors.ts'
import { EventFd } from '../../src/native/event-fd.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../../src/transport/transport.ts'
import { type Broken, copyOf, deliverKind, isClosedError } from './tampered.ts'

const { CONTENT, ZERO } = COMPLETION

/** What one broken transport remembers from channel to channel; emptied before each. */
export const kept: unknown[] = []

const quiet = new EventFd()
const ringing = new EventFd()
ringing.signal()
const neverReady = quiet.fd
const alwaysReady = ringing.fd

function orNothingWhenClosed(poll: () => number): number {
  try {
    return poll()
  } catch (error) {
    if (isClosedError(error)) return 0
    throw error
  }
}

export const BROKEN_CHANNELS: readonly Broken[] = [
  [
    'one credit fewer than promised',
    'creditsMax reads',
    /says yes exactly when/,
    { tamper: (c) => ({ tryPostRead: (...read) => c.credits > 1 && c.tryPostRead(...read) }) },
  ],
  [
    'credits that are never used up',
    'creditsMax reads',
    /credits is creditsMax minus/,
    {
      tamper: (c) => ({
        get credits() {
          return c.creditsMax
        },
      }),
    },
  ],
  [
    'a full channel that throws',
    'creditsMax reads',
    /full/,
    {
      tamper: (c) => ({
        tryPostRead(...read) {
          if (c.credits === 0) throw new Error('full')
          return c.tryPostRead(...read)
        },
      }),
    },
  ],
  [
    'a bad range that is taken',
    'range outside',
    /Missing expected exception/,
    {
      tamper: (c) => ({
        tryPostRead: (id, first, count) =>
          first + count > c.info.pageCount ? c.credits > 0 : c.tryPostRead(id, first, count),
      }),
    },
  ],
  [
    'a bad range that is refused by value',
    'range outside',
    /Missing expected exception/,
    { tamper: (c) => ({ tryPostRead: (id, first, count) => count > 0 && c.tryPostRead(id, first, count) }) },
  ],
  [
    'a bad range with an error of its own',
    'range outside',
    /a FaultlaneError/,
    {
      tamper: (c) => ({
        tryPostRead(...read) {
          try {
            return c.tryPostRead(...read)
          } catch {
            throw new RangeError('no')
          }
        },
      }),
    },
  ],
  [
    'the last page counts as outside',
    'every page alone',
    /past the end/,
    {
      tamper: (c) => ({
        tryPostRead(id, first, count) {
          if (first + count >= c.info.pageCount) throw new Error('past the end')
          return c.tryPostRead(id, first, count)
        },
      }),
    },
  ],
  [
    'completionsMax ignored',
    'no more than it is asked for',
    /at most/,
    { tamper: (c) => ({ poll: (sink) => c.poll(sink, 64) }) },
  ],
  [
    'poll() miscounts',
    'every page alone',
    /returns how many/,
    { tamper: (c) => ({ poll: (sink, max) => Math.min(1, c.poll(sink, max)) }) },
  ],
  [
    'zero pages counted as bytes',
    'every page alone',
    /bytesReceived counts/,
    {
      tamper: (c) => {
        let zeroBytes = 0
        const counting = deliverKind(ZERO, (part) => {
          zeroBytes += part[2] * c.info.pageSize
          return [part]
        })(c)
        return Object.defineProperty(counting, 'bytesReceived', { get: () => c.bytesReceived + zeroBytes })
      },
    },
  ],
  [
    'a gap before the park',
    'polls only when told so',
    /never woken/,
    { tamper: () => ({ armForPark: () => false }) },
  ],
  [
    'a thread that can never sleep',
    'polls only when told so',
    /false when nothing is in flight/,
    { tamper: () => ({ armForPark: () => true }) },
  ],
  [
    'nothing to sleep on, and no word of it',
    'polls only when told so',
    /no pollFd to sleep on/,
    { tamper: () => ({ pollFd: -1, armForPark: () => false }) },
  ],
  [
    'a descriptor that is always ready',
    'polls only when told so',
    /pollFd is quiet/,
    { tamper: () => ({ pollFd: alwaysReady }) },
  ],
  [
    'a second close that throws',
    'close() in every state',
    /closed already/,
    {
      tamper: (c) => {
        let isClosed = false
        return {
          close() {
            c.close()
            if (isClosed) throw new Error('closed already')
            isClosed = true
          },
        }
      },
    },
  ],
  [
    'a closed channel that takes reads',
    'close() in every state',
    /Missing expected exception/,
    {
      tamper: (c) => ({
        tryPostRead(...read) {
          try {
            return c.tryPostRead(...read)
          } catch {
            return false
          }
        },
      }),
    },
  ],
  [
    'closing one channel closes the others',
    'close() in every state',
    /CHANNEL_CLOSED|closed/,
    {
      tamper: (c) => {
        kept.push(c)
        return {
          close() {
            for (const one of kept) (one as Partial<Channel>).close?.()
          },
        }
      },
    },
  ],
  ['page size ignored', 'other page sizes', /4096/, { open: (source, lane) => source.open(lane) }],
  [
    'page size rounded to one that fits',
    'do not fit are refused',
    /Missing expected rejection/,
    {
      open: async (source, lane, options) => {
        try {
          return await source.open(lane, options)
        } catch {
          return source.open(lane)
        }
      },
    },
  ],
  [
    'lanes of different images',
    'tell the same image',
    /strictly deep-equal/,
    {
      tamper: (c) => ({
        info: { ...c.info, imageId: c.lane === 'demand' ? c.info.imageId : '0'.repeat(16) },
      }),
    },
  ],
  [
    'a hole map that hides data',
    'tell the same image',
    /outside dataExtents/,
    {
      describe: async (source, options) => ({
        ...(await source.describe(options)),
        dataExtents: Uint32Array.of(1, 191),
      }),
    },
  ],
  [
    'destinations mixed up',
    'two destinations',
    /not in flight|outside the read|returns how many|had ended/,
    {
      tamper: (c) => ({
        poll(sink, max) {
          const to = (kept[0] as CompletionSink | undefined)?.onCompletion
            ? (kept[0] as CompletionSink)
            : sink
          kept[0] = sink
          return c.poll(to, max)
        },
      }),
    },
  ],
  [
    'demand waits for bulk in flight',
    'stuffed bulk lane',
    /never answered/,
    {
      tamper: (c) => {
        if (c.lane === 'prefault') kept[0] = c
        return {
          poll(sink, max) {
            const bulk = kept[0] as Channel
            return c.lane === 'demand' && bulk.credits < bulk.creditsMax ? 0 : c.poll(sink, max)
          },
        }
      },
    },
  ],
  [
    'a rare wrong byte',
    'random operations',
    /bytes are not the image's/,
    {
      tamper: (c) => {
        let parts = 0
        return deliverKind(CONTENT, (part, channel) => {
          parts++
          if (parts % 3000 !== 0) return [part]
          const copy = copyOf(part, channel)
          kept[0] = copy
          copy.u8[17] = (copy.u8[17] as number) + 1
          return [[part[0], part[1], part[2], CONTENT, copy.address]]
        })(c)
      },
    },
  ],
  [
    'a loss that nobody hears of',
    'lost with reads in flight',
    /not told within/,
    {
      tamper: (c) => ({
        flush() {},
        poll: (sink, max) => orNothingWhenClosed(() => c.poll(sink, max)),
      }),
    },
  ],
  [
    'zeros for what a lost source owed',
    'lost with reads posted',
    /must end as 0/,
    {
      tamper: (c) => ({
        poll(sink, max) {
          try {
            return c.poll(sink, max)
          } catch (error) {
            sink.onCompletion(0, 0, 1, ZERO, 0)
            throw error
          }
        },
      }),
    },
  ],
  [
    'a loss under another name',
    'lost while idle',
    /code CHANNEL_CLOSED/,
    {
      tamper: (c) => ({
        poll(sink, max) {
          try {
            return c.poll(sink, max)
          } catch {
            throw new FaultlaneError({ code: 'PROTOCOL', peer: 'x', got: 'y', expected: 'z' })
          }
        },
      }),
    },
  ],
  [
    'a parked thread that a loss does not wake',
    'lost while idle',
    /does not wake/,
    { tamper: () => ({ pollFd: neverReady }) },
  ],
]
