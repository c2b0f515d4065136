/** Reads pages over one channel in this thread, spinning: how long one takes, and how fast many in a row come. */
import { libc } from '../native/libc.ts'
import { RdmaSimChannel } from '../transport/rdma-sim/channel.ts'
import type { Channel, CompletionSink } from '../transport/transport.ts'

export interface Quantiles {
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

/** Microseconds. The second part is of the emulated NIC only. */
export interface ReadLatency {
  readonly samples: number
  readonly read_us: Quantiles
  /** What the model says of the same reads, and by how much this host delivered later than that, dilated. */
  readonly nic_us: Quantiles | null
  readonly late_us: Quantiles | null
}

/** Reads that compile the road before those that count. */
const WARM_UP_READS = 2000
/** Empty polls between two times that we give way: the source may need this very processor. */
const POLLS_PER_YIELD = 64
/** Without an answer for so long the source is stuck. */
const STUCK_MS = 10_000
/** Bytes in flight while pulling: more than the road holds, less than the buffers of a socket. */
const PULL_BYTES_IN_FLIGHT = 512 * 1024

class Counter implements CompletionSink {
  pages = 0
  content = 0
  onCompletion(_workId: number, _firstPage: number, pageCount: number, _kind: number, address: number): void {
    this.pages += pageCount
    if (address !== 0) this.content += pageCount
  }
}

/** One read at a time, each of `pagesPerRead` pages, over the image in a fixed scattered order. */
export function measureLatency(channel: Channel, samples: number, pagesPerRead = 1): ReadLatency {
  const sink = new Counter()
  const reads = Math.floor(channel.info.pageCount / pagesPerRead)
  const read = new Float64Array(samples)
  const nic = new Float64Array(samples)
  const late = new Float64Array(samples)
  for (let i = -WARM_UP_READS; i < samples; i++) {
    // An odd step visits every read of a power of two.
    const first = ((Math.abs(i) * 7919) % reads) * pagesPerRead
    const startMs = performance.now()
    sink.pages = 0
    channel.tryPostRead(1, first, pagesPerRead)
    channel.flush()
    pollUntil(channel, sink, pagesPerRead)
    if (i < 0) continue
    read[i] = (performance.now() - startMs) * 1000
    if (!(channel instanceof RdmaSimChannel)) continue
    nic[i] = channel.nicNs / 1000
    late[i] = (channel.hostNs - channel.nicNs * channel.dilation) / 1000
  }
  const isEmulated = channel instanceof RdmaSimChannel
  return {
    samples,
    read_us: quantiles(read),
    nic_us: isEmulated ? quantiles(nic) : null,
    late_us: isEmulated ? quantiles(late) : null,
  }
}

/** MB/s while the whole image is read in order, `rounds` times; the bytes are not placed anywhere. */
export function measurePull(channel: Channel, pagesPerRead: number, rounds: number): number {
  const sink = new Counter()
  const { pageCount, pageSize } = channel.info
  const pages = Math.min(pagesPerRead, channel.readPagesMax)
  const readsMax = Math.min(
    channel.creditsMax,
    Math.max(1, Math.floor(PULL_BYTES_IN_FLIGHT / (pages * pageSize))),
  )
  const startMs = performance.now()
  let content = 0
  for (let round = 0; round < rounds; round++) {
    sink.pages = 0
    sink.content = 0
    for (let next = 0; sink.pages < pageCount; ) {
      while (next < pageCount && channel.creditsMax - channel.credits < readsMax) {
        channel.tryPostRead(next / pages, next, Math.min(pages, pageCount - next))
        next += pages
      }
      channel.flush()
      pollUntil(channel, sink, sink.pages + 1)
    }
    content += sink.content
  }
  return (content * pageSize) / 1000 / (performance.now() - startMs)
}

function pollUntil(channel: Channel, sink: Counter, pages: number): void {
  let emptyPolls = 0
  let stuckAtMs = 0
  while (sink.pages < pages) {
    if (channel.poll(sink, 64) > 0) continue
    if (++emptyPolls % POLLS_PER_YIELD !== 0) continue
    libc().sched_yield()
    const nowMs = performance.now()
    if (stuckAtMs === 0) stuckAtMs = nowMs + STUCK_MS
    else if (nowMs > stuckAtMs) throw new Error(`no answer on the ${channel.lane} channel for ${STUCK_MS} ms`)
  }
}

function quantiles(values: Float64Array): Quantiles {
  const sorted = values.sort()
  const at = (share: number) =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number).toFixed(3))
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}
