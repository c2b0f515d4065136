/** A source and a destination's channels over loopback, all in this thread, on a scratch image: what a warm-up drives. */

import type { RegionTable } from '../fault/region-table.ts'
import { ImageReader } from '../memory/image-reader.ts'
import { MSG } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { EventFd } from '../native/event-fd.ts'
import { libc } from '../native/libc.ts'
import { dialTcp, parseTcpUrl } from '../native/socket.ts'
import type { Counters } from '../ring/counters.ts'
import { TcpChannel } from '../transport/tcp/channel.ts'
import { TcpSource } from '../transport/tcp/source.ts'
import {
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  WELCOME_BYTES,
  WIRE_VERSION,
} from '../transport/tcp/wire.ts'
import type { Lane } from '../transport/transport.ts'
import { makeGiveWay } from './wait.ts'

export const PAGE_BYTES = 4096
export const PAGES = 64
const HOLE_PAGES = 4
/** Of a rehearsed loop. One that never ends is compiled with all it calls, and what it called stays uncompiled for the next loop. */
export const TURNS_PER_RUN = 20
/** 12.5 MiB: sockets hold 6 to 10. */
const FLOOD_READS = 100
/** Turns without work after which a source can send no more. */
const IDLE_TURNS = 3
/** Turns of a source until it has welcomed us, with room to spare. */
const TURNS_MAX = 1000

/** Of an emulated link: fast, or a rehearsal would wait for it, but with a way that takes time, as in earnest. */
const LINK = '100Gbit/20us'

/** What a channel calls itself, and the image that both ends speak of. */
const NAME = 'warm-up'
const IMAGE_ID = '0000000000000001'

/**
 * Sums and offsets from here on are other numbers to the compiler than smaller ones. A client of gigabytes comes to them in the midst of its
 * session, and what has never seen one is compiled anew then: 33 functions of a client of 3 GiB (Node 20), for tens of milliseconds.
 */
const LARGE = 2 ** 31
const LARGE_PAGE = LARGE / PAGE_BYTES

/** Finds a page of a region as large as that; the table is to be set afterwards. */
export function locateFarPage(regions: RegionTable): void {
  regions.set(PAGE_BYTES, [{ baseHi: 0, baseLo: 0, firstPage: 0, pageCount: LARGE_PAGE + 1 }])
  regions.locate(LARGE_PAGE)
}

/** To a sum as large as that, and past it. */
export function countFar(counters: Counters<string>): void {
  for (let i = 0; i < 2; i++) counters.add(0, LARGE - 1)
}

export class ScratchRoad {
  readonly source: TcpSource
  /** Ends the source's sleep. */
  readonly event = new EventFd()
  readonly #image: NativeBuffer
  readonly #pages: number

  readonly #channels: TcpChannel[] = []

  /** @param isEmulated the source is behind an emulated link */
  constructor(pages = PAGES, isEmulated = false) {
    this.#pages = pages
    this.#image = new NativeBuffer(pages * PAGE_BYTES, PAGE_BYTES)
    this.#image.u32.fill(1)
    const image = {
      name: NAME,
      id: IMAGE_ID,
      bytes: pages * PAGE_BYTES,
      address: this.#image.address,
      fd: -1,
      extents: Uint32Array.of(0, pages - HOLE_PAGES), // The last are a hole.
      isOurs: true,
    }
    try {
      this.source = new TcpSource('tcp://127.0.0.1:0', image, {
        wakeFd: this.event.fd,
        giveWay: makeGiveWay(true),
        ...(isEmulated ? { link: LINK } : {}),
      })
      this.source.stats.bytesSent = LARGE
      new ImageReader(image).addressOf(LARGE_PAGE)
    } catch (error) {
      this.event.close() // There is no loopback here.
      throw error
    }
  }

  /** A channel to the source, welcomed. */
  open(lane: Lane): TcpChannel {
    const socket = dialTcp(parseTcpUrl(this.source.url), 1000)
    const hello = new NativeBuffer(WELCOME_BYTES)
    hello.u32[HELLO.MAGIC] = HELLO_MAGIC
    hello.u32[HELLO.VERSION] = WIRE_VERSION
    hello.u32[HELLO.LANE] = LANE_CODE[lane]
    hello.u32[HELLO.PAGE_BYTES] = PAGE_BYTES
    libc().send(socket, hello.address, HELLO_BYTES, 0)
    let received = 0
    for (let turn = 0; turn < TURNS_MAX && received < WELCOME_BYTES; turn++) {
      this.source.doWork()
      this.source.park(0)
      const got = libc().recv(socket, hello.address, WELCOME_BYTES - received, MSG.DONTWAIT)
      if (got > 0) received += got
    }
    const info = { imageId: IMAGE_ID, pageSize: PAGE_BYTES, pageCount: this.#pages, dataExtents: null }
    const channel = new TcpChannel(socket, NAME, lane, info)
    channel.bytesReceived = LARGE
    this.#channels.push(channel)
    return channel
  }

  /** More than the sockets hold is asked for before anything is read: it goes out in parts, and comes in parts. */
  flood(channel: TcpChannel, isStopped: () => boolean): void {
    for (let read = 0; read < FLOOD_READS; read++) channel.tryPostRead(read, 0, channel.readPagesMax)
    channel.flush()
    let idle = 0
    for (let turn = 0; turn < TURNS_MAX && idle < IDLE_TURNS && !isStopped(); turn++) {
      idle = this.#turnWithPark() > 0 ? 0 : idle + 1
    }
    const sink = { onCompletion: () => {} }
    for (let turn = 0; channel.credits < channel.creditsMax && turn < TURNS_MAX && !isStopped(); turn++) {
      channel.poll(sink, 4)
      channel.armForPark()
      this.#turnWithPark()
    }
  }

  #turnWithPark(): number {
    this.source.park(0)
    return this.source.doWork()
  }

  turnSource(): void {
    this.source.doWork()
  }

  /** The source sees every channel end, and then sleeps with nobody there: what never happened would be new to the compiler. */
  close(): void {
    for (const channel of this.#channels) channel.close()
    for (let turn = 0; turn < TURNS_MAX && this.source.stats.channels > 0; turn++) {
      this.#turnWithPark()
    }
    this.source.park(1)
    this.source.close()
    this.event.close()
  }
}
