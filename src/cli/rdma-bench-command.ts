/** `bench rdma`: the tables of perftest from the emulated NIC. Virtual time: the same arguments, the same bytes. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { DEFAULT_NIC, nicPresets } from '../transport/rdma-sim/nic-presets.ts'
import {
  BESIDE_MAX,
  DEPTH_MAX,
  type PerftestOp,
  perftestOps,
  runPerftest,
} from '../transport/rdma-sim/perftest.ts'
import { formatPerftest } from '../transport/rdma-sim/perftest-table.ts'
import { writeJson } from './json-output.ts'
import { parseSize } from './values.ts'

interface RdmaFlags {
  nic: string
  virtual?: true
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
  if (!flags.virtual) command.error('error: --virtual is needed: it says which time the figures are of')
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
  const text = formatPerftest(options, rows)
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
