/**
 * What the lanes know of a network: one channel per lane, reads of page ranges posted with a work id,
 * completions polled. TCP, rdma-sim, shm and third parties implement it; `conformance.ts` checks it.
 *
 * A channel belongs to one thread. Nothing here blocks, waits or allocates per page, and two channels share
 * nothing that one could hold while the other waits.
 */
import type { LevelName } from '../levels.ts'

export type Lane = 'demand' | 'prefault'

/** What a source says of its frozen image. Everything is in bytes or in pages of `pageSize`. */
export interface ImageInfo {
  /** Identifies the frozen image: both lanes must see the same one. 16 hexadecimal digits. */
  readonly imageId: string
  /** Bytes of a page in this session: a power of two, at least 4096. */
  readonly pageSize: number
  readonly pageCount: number
  /**
   * Runs of pages that may hold data, as [first page, pages] pairs in ascending order; all pages outside
   * are zero, known without reading them (holes). `null`: not known, every page may hold data.
   */
  readonly dataExtents: Uint32Array | null
}

/** How a part of a read ended. Integers, because they cross the hot path. */
export const COMPLETION = {
  /** `address` is where the bytes of the pages lie, valid until onCompletion returns. */
  CONTENT: 0,
  /** The pages are zero; no bytes crossed the wire. */
  ZERO: 1,
  /** The source could not read these pages; it says so instead of sending wrong bytes. */
  ERROR: 2,
} as const

/** A socket's file, and which one it is: another may later stand at its path. */
export interface SocketFile {
  /** Absolute. */
  readonly path: string
  /** Device, inode and birth, ns: decimal, a blank between. */
  readonly identity: string
}

export interface CompletionSink {
  /**
   * A range of one posted read has ended. A read may end in several parts, in any order; it has given its
   * credit back when all its pages are accounted for, exactly once each.
   * @param workId what tryPostRead was given
   * @param firstPage first page of this part
   * @param pageCount pages in this part, at least 1
   * @param kind one of COMPLETION
   * @param address of the bytes in this process's memory (CONTENT), else 0. Page-aligned is not promised.
   *
   * A page whose bytes are all zero ends as ZERO, never as CONTENT. The sink does not post or poll in here.
   */
  onCompletion(workId: number, firstPage: number, pageCount: number, kind: number, address: number): void
}

export interface Channel {
  readonly lane: Lane
  readonly info: ImageInfo
  /** Pages one read may ask for at most, at least 1. */
  readonly readPagesMax: number
  /** Reads that may be in flight at most: posted, and not all of their pages delivered. */
  readonly creditsMax: number
  /** creditsMax minus the reads in flight: how many tryPostRead calls in a row cannot be refused. */
  readonly credits: number
  /** Payload bytes that have come so far: pages with content only, without headers. */
  readonly bytesReceived: number
  /**
   * File descriptor that becomes readable when poll() may have work; -1 when the channel can only be polled, and
   * once it is closed.
   */
  readonly pollFd: number
  /**
   * Events to wait for on pollFd (poll(2) bits): POLLIN, with POLLOUT while bytes wait to be sent.
   */
  readonly pollEvents: number
  /**
   * Posts a read of `pageCount` pages from `firstPage`. False: no credit, nothing was posted; try again after a
   * poll. Work ids are int32 ≥ 0 and unique among the reads in flight (the caller's duty).
   * Throws FaultlaneError CHANNEL_CLOSED once the channel is broken, BAD_ARGUMENT for a range outside the image.
   */
  tryPostRead(workId: number, firstPage: number, pageCount: number): boolean
  /** Hands everything posted to the wire, as far as it takes it now; the rest goes out in poll(). Throws as poll(). */
  flush(): void
  /**
   * Delivers at most `completionsMax` completions to `sink` and returns how many. 0: nothing has come.
   * Throws FaultlaneError CHANNEL_CLOSED when the peer is gone and PROTOCOL when it sent nonsense; every read in
   * flight is then without an answer, and the channel is good for close() only.
   */
  poll(sink: CompletionSink, completionsMax: number): number
  /**
   * Call before parking on pollFd: true when a completion may have come since the last poll() that pollFd will
   * not announce (poll again instead of parking). Transports without such a gap return false. False whenever nothing
   * is in flight; true while something is, when pollFd is -1.
   */
  armForPark(): boolean
  /**
   * Optional, for a source on the same host, demand lane only: tells it which socket's file this process leaves behind should
   * it be killed, for the source to remove; undefined: none any more. Never throws for a source that is lost.
   */
  tellSocketFile?(file: SocketFile | undefined): void
  /** Gives everything back; safe in every state and more than once. */
  close(): void
  /**
   * Optional. Called while there is no client, again and again as long as it says true: a bounded piece, some 100 µs, of what
   * the first reads would otherwise have to do. Never throws.
   */
  prepare?(): boolean
}

export interface ChannelOptions {
  /** Bytes of a page in this session; the image must be a multiple of it. Default: 4096. */
  readonly pageSize?: number
  /** How long opening may take, milliseconds. */
  readonly timeoutMs?: number
  /** Levels that are switched off (`attach --without`); a transport that does not have them lets them be. */
  readonly without?: readonly LevelName[]
}

/** Destination half of a transport. Loaded inside each lane's own worker; nothing is shared between lanes. */
export interface Transport {
  /** URL schemes this transport answers to, e.g. ['tcp']. */
  readonly schemes: readonly string[]
  /**
   * Asks the source what it has; blocks for a bounded time. Throws CONNECT_FAILED, PROTOCOL, VERSION_MISMATCH,
   * GEOMETRY_MISMATCH.
   */
  describe(url: string, options?: ChannelOptions): ImageInfo
  /** Opens one lane's channel; blocks for a bounded time, the only call that does. Throws as describe(). */
  open(url: string, lane: Lane, options?: ChannelOptions): Channel
}
