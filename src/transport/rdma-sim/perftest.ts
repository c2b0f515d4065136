/**
 * The tables of perftest in virtual time: ib_read_lat, ib_read_bw, ib_write_lat, ib_write_bw, ib_send_lat,
 * ib_atomic_lat and ib_atomic_bw, one row per size. Pure: the same options give the same rows.
 *
 * Conventions of perftest: a WRITE or SEND takes half of a round trip, a READ or atomic the whole operation;
 * t_typical is the median; at most 16 READs are in flight per queue pair; up to 220 bytes are inlined.
 * Beside bulk streams, which all run from client to server (READs: from server to client), only the way that
 * they share is measured. Deeper than 1 a time is from post to completion, the queue's own wait included.
 */
import { FaultlaneError } from '../../errors.ts'
import { DEFAULT_NIC, type NicPreset, nicPreset } from './nic-presets.ts'
import { PerftestBench, type Side } from './perftest-bench.ts'
import { Random, TailSampler } from './tail-sampler.ts'
import { WR_OPCODE } from './verbs.ts'

const OPCODES = {
  read: WR_OPCODE.RDMA_READ,
  write: WR_OPCODE.RDMA_WRITE,
  send: WR_OPCODE.SEND,
  'fetch-add': WR_OPCODE.ATOMIC_FETCH_AND_ADD,
  'cmp-swap': WR_OPCODE.ATOMIC_CMP_AND_SWP,
} as const

export type PerftestOp = keyof typeof OPCODES
export const perftestOps = Object.keys(OPCODES) as PerftestOp[]

export interface PerftestOptions {
  readonly nic?: string
  readonly op?: PerftestOp
  /** Bytes, each at least 1; atomics are always 8. Default: the powers of two from 2 B to 8 MiB. */
  readonly sizes?: readonly number[]
  /** Requests outstanding. Default: 1. */
  readonly depth?: number
  /** Bulk streams beside the operation: 1 MB WRITEs beside a WRITE or SEND, 64 KiB READs beside the others. */
  readonly beside?: number
  readonly sl?: 'separated' | 'shared' | 'same-qp'
  readonly seed?: number
  /** Switches between the two NICs. Default: 0, back to back. */
  readonly switchHops?: number
  /** Samples per row; fewer where messages are long. Default: 1000, beside streams 300. */
  readonly iterations?: number
}

export interface PerftestRow {
  readonly nic: string
  readonly op: PerftestOp
  readonly size: number
  readonly depth: number
  readonly t_typical_us: number
  readonly t_99_us: number
  readonly t_999_us: number
  readonly mpps: number
  readonly gbps: number
  /** Only beside bulk streams: how many, and what all of them moved. */
  readonly beside?: number
  readonly sl?: string
  readonly bulk_gbps?: number
}

export const DEPTH_MAX = 1024
export const BESIDE_MAX = 64
const SIZE_MAX = 2 ** 30
const ATOMIC_BYTES = 8
const SIZES = Array.from({ length: 23 }, (_, i) => 2 ** (i + 1))
/** What one row moves at most, beyond its least number of samples. */
const ROW_BYTES_MAX = 2 ** 26
const SAMPLES_MIN = 24
/** Of each bulk stream, before its rate is worth printing. */
const BULK_COMPLETIONS_MIN = 4
/** Draws of the host's tail per row: enough for a 99.9th percentile. */
const DRAWS_MIN = 1000
/** The measured operation starts at random within the time of so many bytes on the wire. */
const PHASE_BYTES = 65536

export function runPerftest(options: PerftestOptions = {}): PerftestRow[] {
  const op = options.op ?? 'read'
  const o = {
    depth: 1,
    beside: 0,
    sl: 'separated',
    seed: 1,
    switchHops: 0,
    sizes: SIZES,
    ...options,
    op,
  } as const
  check('operation', o.op, perftestOps.includes(o.op), perftestOps.join(', '))
  check('depth', o.depth, isWithin(o.depth, 1, DEPTH_MAX), `1 to ${DEPTH_MAX}`)
  check('streams beside', o.beside, isWithin(o.beside, 0, BESIDE_MAX), `0 to ${BESIDE_MAX}`)
  check(
    'service levels',
    o.sl,
    ['separated', 'shared', 'same-qp'].includes(o.sl),
    'separated, shared or same-qp',
  )
  check('switch hops', o.switchHops, isWithin(o.switchHops, 0, 8), '0 to 8')
  check('seed', o.seed, Number.isInteger(o.seed), 'an integer')
  const iterations = o.iterations ?? (o.beside > 0 ? 300 : 1000)
  check('iterations', iterations, isWithin(iterations, 1, 1e6), '1 to 1000000')
  for (const size of o.sizes) check('size', size, isWithin(size, 1, SIZE_MAX), `1 to ${SIZE_MAX} bytes`)
  const isAtomic = o.op === 'fetch-add' || o.op === 'cmp-swap'
  const preset = nicPreset(o.nic ?? DEFAULT_NIC)
  const sizes = isAtomic ? [ATOMIC_BYTES] : o.sizes
  return sizes.map((size) => new RowRun(preset, { ...o, iterations }, size).run())
}

interface RunOptions {
  readonly op: PerftestOp
  readonly depth: number
  readonly beside: number
  readonly sl: 'separated' | 'shared' | 'same-qp'
  readonly seed: number
  readonly switchHops: number
  readonly iterations: number
}

class RowRun {
  readonly #preset: NicPreset
  readonly #o: RunOptions
  readonly #size: number
  readonly #opcode: number
  readonly #samples: number

  constructor(preset: NicPreset, options: RunOptions, size: number) {
    this.#preset = preset
    this.#o = options
    this.#size = size
    this.#opcode = OPCODES[options.op]
    this.#samples = Math.max(
      Math.min(options.iterations, SAMPLES_MIN),
      Math.min(options.iterations, Math.floor(ROW_BYTES_MAX / size)),
    )
  }

  run(): PerftestRow {
    const { op, depth, beside, sl } = this.#o
    const rate = this.#measureRate()
    const times = this.#withTail(depth > 1 ? rate.timesPs : this.#measureLatency()).sort()
    const us = (share: number): number =>
      round(times[Math.min(times.length - 1, Math.floor(share * times.length))]! / 1e6, 1000)
    const row = {
      nic: this.#preset.name,
      op,
      size: this.#size,
      depth,
      t_typical_us: us(0.5),
      t_99_us: us(0.99),
      t_999_us: us(0.999),
      mpps: round(rate.mpps, 1e6),
      gbps: round((rate.mpps * this.#size * 8) / 1000, 1000),
    }
    return beside === 0 ? row : { ...row, beside, sl, bulk_gbps: round(rate.bulkGbps, 1000) }
  }

  #bench(): PerftestBench {
    const { op, depth, beside, sl, switchHops } = this.#o
    const kind = op === 'write' || op === 'send' ? 'write' : 'read'
    const streams = { streams: beside, kind, sl } as const
    return new PerftestBench(this.#preset.figures, this.#size, depth, streams, switchHops)
  }

  /** The host's part is drawn apart from the model's, so that few samples of a long message have a tail too. */
  #withTail(timesPs: Float64Array): Float64Array {
    const { tail99, tail999 } = this.#preset.figures
    const tail = new TailSampler(tail99.value, tail999.value, this.#o.seed)
    const { length } = timesPs
    return Float64Array.from(
      { length: Math.max(length, DRAWS_MIN) },
      (_, i) => timesPs[i % length]! + tail.samplePs(),
    )
  }

  #measureLatency(): Float64Array {
    const { op, beside, seed } = this.#o
    const bench = this.#bench()
    const random = new Random(seed)
    const phasePs = bench.client.device.model.wirePs(PHASE_BYTES)
    const times = new Float64Array(this.#samples)
    for (let i = 0; i < times.length; i++) {
      if (beside > 0) bench.advanceBy(random.below(phasePs))
      const startPs = bench.nowPs
      if (op === 'write' || op === 'send') {
        this.#oneWay(bench, bench.client, bench.server, i)
        const halfPs = bench.nowPs - startPs
        if (beside === 0) this.#oneWay(bench, bench.server, bench.client, i)
        times[i] = beside > 0 ? halfPs : Math.floor((bench.nowPs - startPs) / 2)
        while (bench.poll(bench.client.sendCq) < 0) bench.step() // Its slot comes back.
      } else {
        bench.post(bench.client, this.#opcode, this.#size, i)
        while (bench.poll(bench.client.sendCq) < 0) bench.step()
        times[i] = bench.nowPs - startPs
      }
    }
    return times
  }

  /** Until the receiver sees it: a SEND by its completion, a WRITE by its last byte in memory. */
  #oneWay(bench: PerftestBench, from: Side, to: Side, round: number): void {
    const last = this.#size - 1
    const mark = (round & 0x7f) + 1
    from.memory.bytes[last] = mark
    if (this.#o.op === 'send') bench.postReceive(to, this.#size)
    else to.memory.bytes[last] = 0
    bench.post(from, this.#opcode, this.#size, round)
    if (this.#o.op === 'send') while (bench.poll(to.recvCq) < 0) bench.step()
    else while (to.memory.bytes[last] !== mark) bench.step()
    bench.poll(bench.server.sendCq) // The answer of an earlier round gives its slot back.
  }

  /** `depth` requests outstanding all the time; the rate is that between the first and the last completion. */
  #measureRate(): { timesPs: Float64Array; mpps: number; bulkGbps: number } {
    const { op, depth, beside } = this.#o
    const bench = this.#bench()
    const count = Math.max(this.#samples, 2 * Math.min(depth, SAMPLES_MIN))
    const timesPs = new Float64Array(count)
    const startsPs = new Float64Array(depth)
    let posted = 0
    const post = (): void => {
      if (op === 'send') bench.postReceive(bench.server, this.#size)
      startsPs[posted % depth] = bench.nowPs
      bench.post(bench.client, this.#opcode, this.#size, posted++)
    }
    const bulkFrom = bench.bulkCompletions
    const bulkFromPs = bench.bulkLastPs
    while (posted < Math.min(depth, count)) post()
    let firstPs = 0
    for (let done = 0; done < count; done++) {
      let id = bench.poll(bench.client.sendCq)
      for (; id < 0; id = bench.poll(bench.client.sendCq)) bench.step()
      timesPs[done] = bench.nowPs - startsPs[id % depth]!
      if (done === 0) firstPs = bench.nowPs
      if (op === 'send') while (bench.poll(bench.server.recvCq) >= 0);
      if (posted < count) post()
    }
    const lastPs = bench.nowPs
    while (bench.bulkCompletions - bulkFrom < BULK_COMPLETIONS_MIN * beside) {
      bench.step()
      bench.poll(bench.client.sendCq)
    }
    const mpps = ((count - 1) * 1e6) / (lastPs - firstPs)
    // From one bulk completion to another, so that no fraction of a message is lost.
    const bulkBytes = (bench.bulkCompletions - bulkFrom) * bench.bulkMessageBytes
    const bulkGbps = bulkBytes === 0 ? 0 : (8000 * bulkBytes) / (bench.bulkLastPs - bulkFromPs)
    return { timesPs, mpps, bulkGbps }
  }
}

function isWithin(value: number, low: number, high: number): boolean {
  return Number.isInteger(value) && value >= low && value <= high
}

function check(what: string, got: unknown, isFine: boolean, expected: string): void {
  if (!isFine) throw new FaultlaneError({ code: 'BAD_ARGUMENT', what, got: String(got), expected })
}

function round(value: number, unit: number): number {
  return Math.round(value * unit) / unit
}
