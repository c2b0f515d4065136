/**
 * Two lanes on one connection: the naive way, kept to be measured against (`--scheduling S0`, S3, S4, `--without connection`). Both lanes
 * run on one thread and their replies come in the order of the requests.
 */
import type { Channel, CompletionSink, Lane } from '../transport/transport.ts'

const BULK_BIT = 1 << 24

/** A lane, as the channel sees it. */
export interface ReplyTaker extends CompletionSink {
  /** Replies that it can take now. */
  readonly repliesRoom: number
}

export class SharedChannel implements CompletionSink {
  readonly demand: Channel
  readonly prefault: Channel
  readonly #channel: Channel
  #takers: Readonly<Record<Lane, ReplyTaker>> | undefined
  readonly #bytes = { demand: 0, prefault: 0 }

  constructor(channel: Channel) {
    this.#channel = channel
    this.demand = this.#view('demand', 0)
    this.prefault = this.#view('prefault', BULK_BIT)
  }

  /** Before anything is posted: whichever lane polls, a reply goes to the lane that asked. */
  deliverTo(demand: ReplyTaker, prefault: ReplyTaker): void {
    this.#takers = { demand, prefault }
  }

  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    const lane: Lane = (workId & BULK_BIT) === 0 ? 'demand' : 'prefault'
    if (address !== 0) this.#bytes[lane] += pageCount * this.#channel.info.pageSize
    this.#takers?.[lane].onCompletion(workId & ~BULK_BIT, firstPage, pageCount, kind, address)
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
      // Either lane's replies may come, so both need room for them.
      poll: (_sink, completionsMax) => {
        const { demand, prefault } = this.#takers as Record<Lane, ReplyTaker>
        const room = Math.min(completionsMax, demand.repliesRoom, prefault.repliesRoom)
        return room > 0 ? channel.poll(this, room) : 0
      },
      armForPark: () => channel.armForPark(),
      tellSocketFile: (file) => channel.tellSocketFile?.(file),
      close: () => channel.close(),
    }
  }
}
