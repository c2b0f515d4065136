/**
 * `bench rdma`: the emulated NIC. In virtual time the tables of perftest, the same arguments, the same bytes; in real
 * time what this host makes of them.
 */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { PAGE_BYTES, REAL_SIZE_MAX, realRdmaText, runRealRdma } from '../measure/real-rdma-bench.ts'
import { DEFAULT_NIC, nicPresets } from '../transport/rdma-sim/nic-presets.ts'
import {
  BESIDE_MAX,
  DEPTH_MAX,
  type PerftestOp,
  perftestOps,
  runPerftest,
} from '../transport/rdma-sim/perftest.ts'
import { formatPerftest } from '../transport/rdma-sim/perftest-table.ts'
import { interruptible } from './interruptible.ts'
import { writeJson } from './json-output.ts'
import { thisProgram } from './program.ts'
import { parseDilation, parseSize } from './values.ts'

interface RdmaFlags {
  nic: string
  virtual?: true
  real?: true
  dilation?: number
  op: PerftestOp
  size?: number[]
  depth: number
  beside: number
  sl: 'separated' | 'shared' | 'same-qp'
  seed: number
  iterations?: number
  json?: string
}

const SIZE_MAX = 2 ** 30
const ITERATIONS_MAX = 1e6

export function addRdmaBench(bench: Command): void {
  bench
    .command('rdma')
    .description('latency and rate of the emulated RDMA NIC, in the columns of perftest')
    .addOption(
      new Option('--nic <name>', 'which NIC')
        .choices(nicPresets.map(({ name }) => name))
        .default(DEFAULT_NIC),
    )
    .option('--virtual', 'in virtual time: the model alone, and nothing of this machine')
    .option('--real', 'in real time, READs one at a time, beside what virtual time says of them')
    .option(
      '--dilation <factor>',
      'with --real: how many times slower than modelled (default: 10)',
      parseDilation,
    )
    .addOption(new Option('--op <operation>', 'which operation').choices(perftestOps).default('read'))
    .option(
      '--size <sizes>',
      'bytes of a message, one or more: 2,4096,64KiB (default: 2 to 8 MiB)',
      parseSizes,
    )
    .option('--depth <count>', 'requests outstanding', within(1, DEPTH_MAX), 1)
    .option('--beside <streams>', 'bulk streams beside the operation', within(0, BESIDE_MAX), 0)
    .addOption(
      new Option('--sl <levels>', 'service levels of the operation and the bulk beside it')
        .choices(['separated', 'shared', 'same-qp'])
        .default('separated'),
    )
    .option('--seed <number>', 'of the samples', within(0, 2 ** 31 - 1), 1)
    .option('--iterations <count>', 'samples a row', within(1, ITERATIONS_MAX))
    .option('--json <file>', 'write the rows as JSON, - for standard output')
    .action(runRdma)
}

async function runRdma(flags: RdmaFlags, command: Command): Promise<void> {
  if (Boolean(flags.virtual) === Boolean(flags.real))
    command.error('error: one of --virtual and --real is needed: which time the figures are of')
  if (flags.real) {
    await interruptible(() => runReal(flags, command))
    return
  }
  if (flags.dilation !== undefined) command.error('error: --dilation needs --real: virtual time has no speed')
  const options = {
    nic: flags.nic,
    op: flags.op,
    depth: flags.depth,
    beside: flags.beside,
    sl: flags.sl,
    seed: flags.seed,
    ...(flags.size === undefined ? {} : { sizes: flags.size }),
    ...(flags.iterations === undefined ? {} : { iterations: flags.iterations }),
  }
  const rows = runPerftest(options)
  await show(flags, formatPerftest(options, rows), rows)
}

const SAMPLES_REAL = 10_000

async function runReal(flags: RdmaFlags, command: Command): Promise<void> {
  for (const [name, plain] of Object.entries({ op: 'read', depth: 1, beside: 0 } as const)) {
    const got = flags[name as 'op' | 'depth' | 'beside']
    if (got !== plain)
      command.error(`error: --${name} ${got} needs --virtual; --real takes --${name} ${plain}`)
  }
  const sizes = flags.size ?? [PAGE_BYTES]
  for (const size of sizes) {
    if (size % PAGE_BYTES !== 0 || size > REAL_SIZE_MAX)
      command.error(`error: --size ${size} with --real: expected whole pages of 4096 up to ${REAL_SIZE_MAX}`)
  }
  const rows = await runRealRdma({
    faultlane: thisProgram(),
    nic: flags.nic,
    dilation: flags.dilation ?? 10,
    sizes,
    samples: flags.iterations ?? SAMPLES_REAL,
  })
  await show(flags, `${realRdmaText(rows)}\n`, rows)
}

async function show(flags: RdmaFlags, text: string, rows: readonly unknown[]): Promise<void> {
  if (flags.json === '-') process.stderr.write(text)
  else process.stdout.write(text)
  if (flags.json !== undefined && !(await writeJson(flags.json, rows))) process.exitCode = 1
}

function parseSizes(text: string): number[] {
  const sizes = text.split(',').map(parseSize)
  if (sizes.some((size) => size > SIZE_MAX || !Number.isInteger(size)))
    throw new InvalidArgumentError('expected sizes of at most 1GiB, like 2,4096,64KiB.')
  return sizes
}

function within(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < low || value > high)
      throw new InvalidArgumentError(`expected a whole number from ${low} to ${high}.`)
    return value
  }
}
