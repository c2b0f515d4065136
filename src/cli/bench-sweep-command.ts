import { type Command, Option } from 'commander'
import { benchSweep, ORDERS, type Order } from '../bench-kit/sweep.ts'
import { sweepTable } from '../bench-kit/sweep-table.ts'
import { SCHEDULING_NAMES } from '../prefault/schedulings.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { split, untilStopped } from './bench-isolation-command.ts'
import { writeJson } from './json-output.ts'
import { say } from './signals.ts'
import { parseCount, parseSize } from './values.ts'

interface Flags {
  rates: string
  rtts: string
  orders: string[]
  touches: number
  runs: number
  wait: WaitMode
  scheduling: string
  imageSize: number
  json?: string
  smoke: boolean
}

export function addBenchSweep(bench: Command): void {
  bench
    .command('sweep')
    .description(
      'what a round trip costs, over emulated links: stall against RTT × faults, and completion with prefault ÷ without',
    )
    .option('--rates <list>', 'of the emulated links', '1Gbit,10Gbit')
    .option('--rtts <list>', 'round trips', '0,50us,100us,200us,500us,1ms,6ms,25ms')
    .addOption(
      new Option('--orders <names...>', 'which pages are touched: a third of the memory, or sparsely')
        .choices(ORDERS)
        .default([...ORDERS]),
    )
    .option('--touches <count>', 'pages that a workload touches', parseCount, 400)
    .option('--runs <count>', 'interleaved rounds; medians are shown', parseCount, 5)
    .addOption(new Option('--wait <mode>', 'how the handler waits').choices(WAIT_MODES).default('adaptive'))
    .addOption(new Option('--scheduling <name>', 'with prefault').choices(SCHEDULING_NAMES).default('S2'))
    .option(
      '--image-size <size>',
      'of the synthetic image, all of which sparse may touch',
      parseSize,
      64 * 2 ** 20,
    )
    .option('--json <file>', 'write the figures as JSON, - for standard output')
    .option('--smoke', 'seconds only, to see that it works: no figure of it means anything', false)
    .action((flags: Flags) =>
      untilStopped(async (signal) => {
        const { smoke } = flags
        const result = await benchSweep({
          rates: split(smoke ? '1Gbit' : flags.rates),
          rtts: split(smoke ? '0,1ms' : flags.rtts),
          touches: smoke ? 20 : flags.touches,
          orders: ORDERS.filter((order) => flags.orders.includes(order)) as Order[],
          runs: smoke ? 1 : flags.runs,
          wait: flags.wait,
          scheduling: flags.scheduling,
          imageBytes: smoke ? 2 ** 24 : flags.imageSize,
          self: { node: process.execPath, script: process.argv[1] ?? '', pid: process.pid },
          signal,
          say,
        })
        if (flags.json !== '-') process.stdout.write(`${sweepTable(result)}\n`)
        if (
          flags.json !== undefined &&
          !(await writeJson(flags.json, { bench: 'sweep', wait: flags.wait, ...result }))
        )
          process.exitCode = 1
      }),
    )
}
