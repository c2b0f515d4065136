/**
 * Runs the whole road of a page on scratch memory, source and destination stepped in turn by this one thread, until
 * the compiler has seen it: the first calls of a program run in the interpreter, and the first fault must not.
 * Nothing crosses the real channel.
 */
import type { Clock } from '../clock.ts'
import { FaultlaneError } from '../errors.ts'
import { encodeHandshake } from '../fault/handshake-parse.ts'
import { rehearseHandshake } from '../fault/rehearsal.ts'
import { UffdFaults } from '../fault/uffd-faults.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import { openUserfaultfd, registerMissing } from '../fault/userfaultfd-open.ts'
import { allocateBoard, Board } from '../lane/board.ts'
import { type ClientListener, DemandAgent } from '../lane/demand-agent.ts'
import { DemandLane } from '../lane/demand-lane.ts'
import { DEMAND_COUNTERS, PREFAULT_COUNTERS } from '../lane/stats.ts'
import { ImageReaders } from '../memory/image.ts'
import { PAGE, PageTable } from '../memory/page-table.ts'
import { AF, MADV, MAP, OPEN, PROT, SOCK, UFFD } from '../native/abi.ts'
import { NativeBuffer } from '../native/buffer.ts'
import { EventFd } from '../native/event-fd.ts'
import { check, libc } from '../native/libc.ts'
import { DescriptorMessages, WOULD_BLOCK } from '../native/unix-socket.ts'
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
const SESSIONS = 10

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

/** The destination's half, by the agent itself: whole sessions with itself as the client, every page demanded. */
export function warmUpDemand(clock: Clock): void {
  if (!canMakeUserfaultfd()) return // Its clients bring their own; here there is nothing to rehearse with.
  rehearseHandshake(10)
  const road = new ScratchRoad()
  const bytes = PAGES * PAGE_BYTES
  const flags = MAP.PRIVATE | MAP.ANONYMOUS
  const address = check(libc().mmap(0, bytes, PROT.READ | PROT.WRITE, flags, -1, 0), 'mmap', 'warm-up')
  const board = new Board(allocateBoard())
  const table = PageTable.allocate(PAGES)
  const counters = new Counters(DEMAND_COUNTERS, Counters.allocate(DEMAND_COUNTERS.length))
  const stalls = new LatencyHistogram(LatencyHistogram.allocate())
  const hints = new RingProducer(board.memory.hints)
  const lane = new DemandLane(road.channel, {
    table,
    board,
    hints,
    counters,
    stalls,
    clock,
  })
  const bell = new EventFd()
  const prefaultBell = board.prefaultBell({ signal: () => bell.signal(), sleep: () => {} })
  const listener = new PairListener()
  const agent = new DemandAgent({
    listener,
    table,
    board,
    lane,
    sharedPrefault: undefined,
    hasPrefaultAgent: false,
    reopen: () => road.channel,
    channel: road.channel,
    holes: Uint32Array.of(0, PAGES),
    bell,
    prefaultBell,
    clock,
    onLoss: 'wait',
    keep: true,
    counters,
    prefaultCounters: new Counters(PREFAULT_COUNTERS, Counters.allocate(PREFAULT_COUNTERS.length)),
    stalls,
    notify: () => {},
  })
  const told = new RingConsumer(board.memory.hints)
  for (let round = 0; round < SESSIONS; round++) {
    const client = listener.connect(address, bytes)
    prefaultBell.announce()
    for (let turn = 0; turn < TURNS_MAX && !agent.hasSession; turn++) agent.doWork()
    for (let page = 0; page < PAGES; page++) {
      board.regions.pageAt(Math.floor(address / 0x1_0000_0000), (address % 0x1_0000_0000) + page * PAGE_BYTES)
      lane.onFault(page)
      agent.doWork()
      road.channel.flush()
      road.turnSource()
      agent.doWork()
      told.release()
    }
    for (let turn = 0; turn < TURNS_MAX && agent.hasSession; turn++) agent.doWork()
    libc().close(client)
    libc().madvise(address, bytes, MADV.DONTNEED)
  }
  agent.stop()
  bell.close()
  const again = new ScratchRoad()
  lane.replaceChannel(again.channel)
  rehearseFaults(lane, board, table, again, told, address)
  again.close()
  libc().munmap(address, bytes)
}

/** Faults as they are read: through a pipe, because a real one would stop this very thread. */
function rehearseFaults(
  lane: DemandLane,
  board: Board,
  table: PageTable,
  road: ScratchRoad,
  told: RingConsumer,
  address: number,
): void {
  const pipe = new NativeBuffer(8)
  check(libc().pipe2(pipe.address, OPEN.NONBLOCK | OPEN.CLOEXEC), 'pipe2', 'warm-up')
  const [end, entry] = [pipe.i32[0] as number, pipe.i32[1] as number]
  const { fd } = openUserfaultfd(0)
  const bytes = PAGES * PAGE_BYTES
  registerMissing(fd, address, bytes)
  const faults = new UffdFaults(new Userfaultfd(end), board.regions, board.readingWord, board.placingWord)
  lane.begin(faults, new UffdPlacer(new Userfaultfd(fd), board.regions))
  const event = new NativeBuffer(UFFD.MSG_BYTES)
  event.u8[0] = UFFD.EVENT_PAGEFAULT
  for (let round = 0; round < ROUNDS; round++) {
    table.reset(0, PAGES, PAGE.MISSING)
    libc().madvise(address, bytes, MADV.DONTNEED)
    for (let page = 0; page < PAGES; page++) {
      event.setU64(16, address + page * PAGE_BYTES)
      libc().write(entry, event.address, UFFD.MSG_BYTES)
      lane.doWork(false, true)
      road.turnSource()
      lane.doWork(true, true)
      told.release()
    }
  }
  lane.end()
  for (const each of [end, entry, fd]) libc().close(each)
}

/** Turns that a session takes to begin or end, with room to spare: bounded whatever goes wrong. */
const TURNS_MAX = 16

/** Clients of one process by socket pairs: nothing of them is in the file system. */
class PairListener implements ClientListener {
  readonly fd = -1
  #waiting = WOULD_BLOCK
  readonly #pair = new NativeBuffer(8)
  readonly #messages = new DescriptorMessages()

  /** A client that hands over its memory; the end that keeps it alive. */
  connect(address: number, bytes: number): number {
    const type = SOCK.STREAM | SOCK.NONBLOCK | SOCK.CLOEXEC
    check(libc().socketpair(AF.UNIX, type, 0, this.#pair.address), 'socketpair', 'warm-up')
    const [client, agent] = [this.#pair.i32[0] as number, this.#pair.i32[1] as number]
    const { fd } = openUserfaultfd(0)
    registerMissing(fd, address, bytes)
    const body = new TextEncoder().encode(
      encodeHandshake([{ base: BigInt(address), bytes, offset: 0 }], PAGE_BYTES),
    )
    const buffer = new NativeBuffer(body.length)
    buffer.u8.set(body)
    this.#messages.send(client, buffer.address, body.length, [fd])
    libc().close(fd) // The agent's copy is under way.
    this.#waiting = agent
    return client
  }

  tryAccept(): number {
    const agent = this.#waiting
    this.#waiting = WOULD_BLOCK
    return agent
  }

  close(): void {}
}

function canMakeUserfaultfd(): boolean {
  try {
    libc().close(openUserfaultfd(0).fd)
    return true
  } catch (error) {
    if (error instanceof FaultlaneError && error.code === 'NO_USERFAULTFD') return false
    throw error
  }
}
