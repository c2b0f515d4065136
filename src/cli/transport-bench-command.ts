/** `bench transport`: the transports side by side. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  runTransportBench,
  TRANSPORTS,
  type TransportName,
  transportBenchText,
} from '../measure/transport-bench.ts'
import { DEFAULT_NIC, nicPresets } from '../transport/rdma-sim/nic-presets.ts'
import { interruptible } from './interruptible.ts'
import { writeJson } from './json-output.ts'
import { thisProgram } from './program.ts'
import { Progress } from './progress.ts'
import { parseCount, parseDilation, parseMebibytes } from './values.ts'

interface TransportFlags {
  transports: TransportName[]
  size: number
  samples: number
  nic: string
  dilation: number
  smoke?: true
  json?: string
}

/** Enough to see that it works; the figures mean nothing. */
const SMOKE = { bytes: 4 * 2 ** 20, samples: 200 }

export function addTransportBench(bench: Command): void {
  bench
    .command('transport')
    .description('latency of a 4 KiB read and the rate of a pull over every transport; rdma-sim is emulated')
    .option('--transports <names>', `one or more of ${TRANSPORTS.join(',')}`, parseTransports, [
      ...TRANSPORTS,
    ])
    .option('--size <size>', 'memory image, whole MiB', parseMebibytes, 64 * 2 ** 20)
    .option('--samples <count>', 'reads that are timed', parseCount, 20_000)
    .addOption(
      new Option('--nic <name>', 'NIC of rdma-sim')
        .choices(nicPresets.map(({ name }) => name))
        .default(DEFAULT_NIC),
    )
    .option('--dilation <factor>', 'how many times slower than modelled rdma-sim runs', parseDilation, 1)
    .option('--smoke', 'few reads of a small image')
    .option('--json <file>', 'write all figures as JSON, - for standard output')
    .action((flags) => interruptible(() => runTransport(flags)))
}

async function runTransport(flags: TransportFlags): Promise<void> {
  const progress = new Progress()
  try {
    const rows = await runTransportBench({
      faultlane: thisProgram(),
      transports: flags.transports,
      bytes: flags.smoke ? SMOKE.bytes : flags.size,
      samples: flags.smoke ? SMOKE.samples : flags.samples,
      nic: flags.nic,
      dilation: flags.dilation,
      onProgress: (text) => progress.tell(text),
    })
    progress.end()
    const text = `${transportBenchText(rows)}\n`
    if (flags.json === '-') process.stderr.write(text)
    else process.stdout.write(text)
    if (flags.json !== undefined && !(await writeJson(flags.json, rows))) process.exitCode = 1
  } finally {
    progress.end()
  }
}

function parseTransports(text: string): TransportName[] {
  const names = text.split(',')
  const isKnown = (name: string): name is TransportName => (TRANSPORTS as readonly string[]).includes(name)
  if (!names.every(isKnown))
    throw new InvalidArgumentError(`expected one or more of ${TRANSPORTS.join(',')}.`)
  return names
}
