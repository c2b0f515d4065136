/**
 * Two lanes on one connection: the naive way, kept to be measured against (`--scheduling S0`, S3, S4). Both lanes
 * run on one thread and their replies come in the order of the requests.
 */
import type { Channel, CompletionSink, Lane } from '../transport/transport.ts'

const BULK_BIT = 1 << 24

export class SharedChannel implements CompletionSink {
  readonly demand: Channel
  readonly prefault: Channel
  readonly #channel: Channel
  readonly #sinks: { demand: CompletionSink | undefined; prefault: CompletionSink | undefined } = {
    demand: undefined,
    prefault: undefined,
  }
  readonly #bytes = { demand: 0, prefault: 0 }

  constructor(channel: Channel) {
    this.#channel = channel
    this.demand = this.#view('demand', 0)
    this.prefault = this.#view('prefault', BULK_BIT)
  }

  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    const lane: Lane = (workId & BULK_BIT) === 0 ? 'demand' : 'prefault'
    if (address !== 0) this.#bytes[lane] += pageCount * this.#channel.info.pageSize
    this.#sinks[lane]?.onCompletion(workId & ~BULK_BIT, firstPage, pageCount, kind, address)
  }

  #view(lane: Lane, bit: number): Channel {
    const channel = this.#channel
    const bytes = this.#bytes
    return {
      lane,
      info: channel.info,
      readPagesMax: channel.readPagesMax,
      creditsMax: channel.creditsMax / 2,
      pollFd: channel.pollFd,
      get credits() {
        return channel.credits
      },
      get bytesReceived() {
        return bytes[lane]
      },
      get pollEvents() {
        return channel.pollEvents
      },
      tryPostRead: (workId, firstPage, pageCount) => channel.tryPostRead(workId | bit, firstPage, pageCount),
      flush: () => channel.flush(),
      poll: (sink, completionsMax) => {
        this.#sinks[lane] = sink
        return channel.poll(this, completionsMax)
      },
      armForPark: () => channel.armForPark(),
      tellSocketFile: (file) => channel.tellSocketFile?.(file),
      close: () => channel.close(),
    }
  }
}
