/**
 * A channel under test beside the model of what it owes: every completion is compared, as it comes, with the reads
 * in flight and the image's bytes. Knows nothing of order. A broken law is kept and thrown by the probe itself, so
 * that a transport which swallows what its sink throws is caught all the same.
 */
import { strict as assert } from 'node:assert'
import { libc } from '../../native/libc.ts'
import { PollSet } from '../../native/poll-set.ts'
import { type Channel, COMPLETION, type CompletionSink } from '../transport.ts'
import type { ConformanceImage } from './image.ts'

/** What a read in flight still owes: page → true until it has come. */
interface Read {
  readonly firstPage: number
  readonly owed: boolean[]
  left: number
}

export class Probe implements CompletionSink {
  readonly channel: Channel
  readonly reads = new Map<number, Read>()
  /** Pages that have ended, by COMPLETION kind. */
  readonly pagesByKind = [0, 0, 0]
  #delivered = 0
  #violation: Error | undefined
  readonly #image: ConformanceImage
  readonly #turn: () => void
  readonly #patienceMs: number
  readonly #kinds: Uint8Array

  /** @param turn gives the source a turn, where it does not run by itself */
  constructor(channel: Channel, image: ConformanceImage, patienceMs: number, turn: () => void) {
    this.channel = channel
    this.#image = image
    this.#patienceMs = patienceMs
    this.#turn = turn
    const { pageSize, pageCount } = channel.info
    this.#kinds = Uint8Array.from({ length: pageCount }, (_, page) => image.expectedKind(page, pageSize))
  }

  expectedKind(page: number): number {
    return this.#kinds[page] as number
  }

  /** Posts; holds the channel to "refused exactly when there is no credit". */
  post(workId: number, firstPage: number, pageCount: number): boolean {
    const { channel } = this
    const hadCredit = channel.credits > 0
    const isPosted = channel.tryPostRead(workId, firstPage, pageCount)
    assert.equal(isPosted, hadCredit, 'tryPostRead says yes exactly when credits is above 0')
    if (isPosted) this.reads.set(workId, { firstPage, owed: Array(pageCount).fill(true), left: pageCount })
    this.checkCredits()
    return isPosted
  }

  checkCredits(): void {
    const { credits, creditsMax } = this.channel
    assert.equal(credits, creditsMax - this.reads.size, 'credits is creditsMax minus the reads in flight')
  }

  /** One poll of the channel, and the laws about it. */
  poll(completionsMax = 64): number {
    const before = this.#delivered
    let returned: number
    try {
      returned = this.channel.poll(this, completionsMax)
    } catch (error) {
      throw this.#violation ?? error
    }
    if (this.#violation) throw this.#violation
    const seen = this.#delivered - before
    assert.equal(returned, seen, 'poll() returns how many completions it delivered')
    assert.ok(seen <= completionsMax, `poll() delivers ${completionsMax} completions at most, not ${seen}`)
    const bytes = (this.pagesByKind[COMPLETION.CONTENT] as number) * this.channel.info.pageSize
    assert.equal(
      this.channel.bytesReceived,
      bytes,
      'bytesReceived counts the pages with content and nothing else',
    )
    this.checkCredits()
    return seen
  }

  /** Polls until nothing is in flight. */
  async drain(completionsMax = 64): Promise<void> {
    const deadline = performance.now() + this.#patienceMs
    while (this.reads.size > 0) {
      this.channel.flush()
      this.#turn()
      if (this.poll(completionsMax) > 0) continue
      assert.ok(performance.now() < deadline, `${this.reads.size} reads were never answered`)
      await pause()
    }
  }

  /** Drains like a thread that sleeps: takes one completion, and only when armForPark() or pollFd says there may be one. */
  async drainParking(): Promise<void> {
    const { channel } = this
    const set = new PollSet(1)
    const deadline = performance.now() + this.#patienceMs
    while (this.reads.size > 0) {
      channel.flush()
      this.#turn()
      if (channel.armForPark() || isReady(set, channel, 1)) this.poll(1)
      else if (channel.pollFd < 0) {
        assert.fail('armForPark() must be true while reads are in flight and there is no pollFd to sleep on')
      }
      assert.ok(performance.now() < deadline, 'a thread parked on pollFd was never woken for its completions')
      await pause()
    }
    assert.equal(channel.armForPark(), false, 'armForPark() is false when nothing is in flight')
    assert.equal(
      isReady(set, channel, 0),
      false,
      'pollFd is quiet when nothing is in flight and the source lives',
    )
  }

  /** True when pollFd is readable now. */
  isPollFdReady(): boolean {
    return isReady(new PollSet(1), this.channel, 0)
  }

  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    this.#delivered++
    try {
      this.#check(workId, firstPage, pageCount, kind, address)
    } catch (error) {
      this.#violation ??= error as Error
    }
  }

  #check(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void {
    const { pageSize } = this.channel.info
    const part = `completion of work ${workId}, pages ${firstPage}+${pageCount}, kind ${kind}`
    const read = this.reads.get(workId)
    if (!read) assert.fail(`${part}: that work id is not in flight`)
    const begin = firstPage - read.firstPage
    const isInside = pageCount >= 1 && begin >= 0 && begin + pageCount <= read.owed.length
    assert.ok(isInside, `${part}: outside the read, ${read.firstPage}+${read.owed.length}`)
    for (let page = firstPage; page < firstPage + pageCount; page++) {
      assert.ok(read.owed[page - read.firstPage], `${part}: page ${page} had ended already`)
      read.owed[page - read.firstPage] = false
      assert.equal(
        kind,
        this.expectedKind(page),
        `${part}: page ${page} must end as ${this.expectedKind(page)}`,
      )
    }
    if (kind === COMPLETION.CONTENT) {
      assert.ok(address > 0, `${part}: content has an address`)
      const expected = this.#image.content.address + firstPage * pageSize
      const difference = libc().memcmp(expected, address, pageCount * pageSize)
      assert.equal(difference, 0, `${part}: the bytes are not the image's`)
    } else assert.equal(address, 0, `${part}: address is 0 without content`)
    this.pagesByKind[kind] = (this.pagesByKind[kind] as number) + pageCount
    read.left -= pageCount
    if (read.left === 0) this.reads.delete(workId)
  }
}

function isReady(set: PollSet, channel: Channel, timeoutMs: number): boolean {
  if (channel.pollFd < 0) return false
  set.set(0, channel.pollFd, channel.pollEvents)
  return set.wait(timeoutMs) > 0
}

/** Lets the harness's own event loop run. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
