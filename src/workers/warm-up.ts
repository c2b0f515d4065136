/**
 * Runs the whole road of a page on scratch memory, source and destination stepped in turn by this one thread, until
 * the compiler has seen it: the first calls of a program run in the interpreter, and the first fault must not.
 * Nothing crosses the real channel.
 */
import type { Clock } from '../clock.ts'
import { rehearseHandshake } from '../fault/rehearsal.ts'
import { UffdFaults } from '../fault/uffd-faults.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../fault/userfaultfd-open.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import { DemandLane } from '../lane/demand-lane.ts'
import { DEMAND_COUNTERS } from '../lane/stats.ts'
import { ImageReaders } from '../memory/image.ts'
import { PAGE, PageTable } from '../memory/page-table.ts'
import { AF, MADV, MAP, PROT, SOCK } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { check, libc } from '../native/libc.ts'
import { Counters } from '../ring/counters.ts'
import { LatencyHistogram } from '../ring/histogram.ts'
import { RingConsumer, RingProducer } from '../ring/spsc-ring.ts'
import { TcpChannel } from '../transport/tcp/channel.ts'
import { Connection } from '../transport/tcp/connection.ts'
import {
  HELLO,
  HELLO_BYTES,
  HELLO_MAGIC,
  LANE_CODE,
  WELCOME_BYTES,
  WIRE_VERSION,
} from '../transport/tcp/wire.ts'

const PAGE_BYTES = 4096
const PAGES = 64
/** Enough for the optimising compiler (about 1000 calls), and 50 to 80 ms. */
const ROUNDS = 30

/** A source's connection and a destination's channel over a socket pair, on a scratch image. */
class ScratchRoad {
  readonly channel: TcpChannel
  readonly connection: Connection
  readonly #image = new NativeBuffer(PAGES * PAGE_BYTES, PAGE_BYTES)

  constructor() {
    const pair = new NativeBuffer(8)
    check(
      libc().socketpair(AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC, 0, pair.address),
      'socketpair',
      'warm-up',
    )
    const [here, there] = [pair.i32[0] as number, pair.i32[1] as number]
    this.#image.u32.fill(1)
    const image = {
      name: 'warm-up',
      id: '0000000000000001',
      bytes: PAGES * PAGE_BYTES,
      address: this.#image.address,
      fd: -1,
      extents: null,
      isOurs: true,
    }
    const stats = { channels: 0, pagesSent: 0, zeroPagesSent: 0, bytesSent: 0, errorsSent: 0, refused: 0 }
    this.connection = new Connection(there, 'warm-up', new ImageReaders(image), stats, 0)
    const hello = new NativeBuffer(WELCOME_BYTES)
    hello.u32[HELLO.MAGIC] = HELLO_MAGIC
    hello.u32[HELLO.VERSION] = WIRE_VERSION
    hello.u32[HELLO.LANE] = LANE_CODE.demand
    hello.u32[HELLO.PAGE_BYTES] = PAGE_BYTES
    libc().send(here, hello.address, HELLO_BYTES, 0)
    this.connection.receive()
    libc().recv(here, hello.address, WELCOME_BYTES, 0)
    const info = { imageId: image.id, pageSize: PAGE_BYTES, pageCount: PAGES, dataExtents: null }
    this.channel = new TcpChannel(here, 'warm-up', 'demand', info)
  }

  turnSource(): void {
    this.connection.receive()
    this.connection.answer(16, 65536)
  }

  close(): void {
    this.channel.close()
    this.connection.close()
  }
}

/** The source's half: requests in, pages out. */
export function warmUpSource(): void {
  const road = new ScratchRoad()
  const sink = { onCompletion: () => {} }
  for (let round = 0; round < ROUNDS; round++) {
    for (let page = 0; page < PAGES; page++) {
      road.channel.tryPostRead(page, page, 1)
      road.channel.flush()
      road.turnSource()
      road.channel.poll(sink, 16)
    }
  }
  road.close()
}

/** The destination's half: a fault, its read, the reply, the page placed. Does what it can where userfaultfd is refused. */
export function warmUpDemand(clock: Clock): void {
  let fd: number
  try {
    fd = openUserfaultfd(0).fd
  } catch {
    return // Its clients bring their own; without one there is no client to warm up for.
  }
  rehearseHandshake(20)
  const road = new ScratchRoad()
  const bytes = PAGES * PAGE_BYTES
  const address = check(
    libc().mmap(0, bytes, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0),
    'mmap',
    'warm-up',
  )
  registerMissing(fd, address, bytes)
  const board = new Board(allocateBoard())
  const baseHi = Math.floor(address / 0x1_0000_0000)
  board.regions.set(PAGE_BYTES, [{ baseHi, baseLo: address % 0x1_0000_0000, firstPage: 0, pageCount: PAGES }])
  const table = PageTable.allocate(PAGES)
  const hints = new RingConsumer(board.memory.hints)
  const lane = new DemandLane(road.channel, {
    table,
    board,
    hints: new RingProducer(board.memory.hints),
    counters: new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length)),
    stalls: new LatencyHistogram(LatencyHistogram.allocate()),
    clock,
    onQuiet: () => {},
  })
  const uffd = new Userfaultfd(fd)
  const faults = new UffdFaults(uffd, board.regions, board.readingWord, board.placingWord)
  lane.begin(faults, new UffdPlacer(uffd, board.regions))
  for (let round = 0; round < ROUNDS; round++) {
    table.reset(0, PAGES, PAGE.MISSING)
    libc().madvise(address, bytes, MADV.DONTNEED)
    for (let page = 0; page < PAGES; page++) {
      board.regions.pageAt(baseHi, (address % 0x1_0000_0000) + page * PAGE_BYTES)
      lane.onFault(page)
      lane.doWork(false, true)
      road.channel.flush()
      road.turnSource()
      lane.doWork(true, true)
      hints.release()
    }
  }
  lane.end()
  road.close()
  libc().munmap(address, bytes)
  libc().close(fd)
}
