import { type Command, Option } from 'commander'
import { benchBeside } from '../bench-kit/beside.ts'
import { parseLinkSpec } from '../bench-kit/link-spec.ts'
import { figure, formatTable } from '../bench-kit/table.ts'
import { type LevelName, requireLevels } from '../levels.ts'
import { SCHEDULING_NAMES } from '../prefault/schedulings.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { split, untilStopped } from './bench-isolation-command.ts'
import { writeJson } from './json-output.ts'
import { say } from './signals.ts'
import { parseCount, parseDuration, parseList } from './values.ts'

interface Flags {
  links: string
  scheduling: string
  without: LevelName[]
  neighbour: 'heavy32' | 'none'
  daemons: '1' | '2'
  runs: number
  measure: number
  wait: WaitMode
  json?: string
}

export function addBenchBeside(bench: Command): void {
  bench
    .command('beside')
    .description(
      'a light client beside one with 32 faulting threads, at one source: what the light one feels',
    )
    .option('--links <list>', 'loopback, netns[:RATE] (root), RATE/RTT[/QUEUE] (emulated)', 'loopback')
    .addOption(
      new Option('--scheduling <name>', 'of both; off: without prefault, to see what demand does to demand')
        .choices([...SCHEDULING_NAMES, 'off'])
        .default('S2'),
    )
    .addOption(
      new Option(
        '--neighbour <demand>',
        'what the other client does: faults from 32 threads, or nothing but have its memory prefaulted',
      )
        .choices(['heavy32', 'none'])
        .default('heavy32'),
    )
    .addOption(
      new Option('--daemons <count>', '1: both clients have one handler daemon, 2: each its own')
        .choices(['1', '2'])
        .default('1'),
    )
    .option('--without <levels>', 'levels of attach to switch off beside the heavy client', parseList, [])
    .option('--runs <count>', 'interleaved rounds; medians are shown', parseCount, 5)
    .option('--measure <duration>', 'longest measurement of one cell', parseDuration, 2e9)
    .addOption(
      new Option('--wait <mode>', 'how handlers and source wait').choices(WAIT_MODES).default('adaptive'),
    )
    .option('--json <file>', 'write the figures as JSON, - for standard output')
    .action((flags: Flags) =>
      untilStopped(async (signal) => {
        const figures = await benchBeside({
          links: split(flags.links).map(parseLinkSpec),
          scheduling: flags.scheduling,
          without: requireLevels(flags.without, 'attach', 'tcp'),
          neighbour: flags.neighbour,
          daemons: flags.daemons === '1' ? 1 : 2,
          runs: flags.runs,
          wait: flags.wait,
          limits: { warmMs: 500, measureMs: flags.measure / 1e6 },
          self: { node: process.execPath, script: process.argv[1] ?? '', pid: process.pid },
          signal,
          say,
        })
        const header = [
          'link',
          'alone p50 µs',
          'p99',
          'beside p50',
          'p99',
          'p99 beside÷alone',
          'samples',
          'heavy faults/s',
          'stolen',
          'still ms/s',
        ]
        const rows = figures.map((f) => [
          f.link,
          figure(f.aloneP50Us),
          figure(f.aloneP99Us),
          figure(f.besideP50Us),
          figure(f.besideP99Us),
          figure(f.p99Ratio, 2),
          String(f.samples),
          figure(f.heavyFaultsPerS),
          figure(f.stolenCores, 3),
          figure(f.stillMsPerS, 1),
        ])
        const note =
          'heavy faults/s: of the other client meanwhile, which is what it has left.\n' +
          'stolen: processors that the host of this virtual machine kept from it, beside the heavy client; with 0.01 a p99 is the host’s.\n' +
          'still: milliseconds of each second in which not even a real-time thread could run, of which stolen may say nothing. -: may not be watched (CAP_SYS_NICE).'
        if (flags.json !== '-') process.stdout.write(`${formatTable(header, rows, 1)}\n\n${note}\n`)
        if (
          flags.json !== undefined &&
          !(await writeJson(flags.json, {
            bench: 'beside',
            scheduling: flags.scheduling,
            wait: flags.wait,
            neighbour: flags.neighbour,
            daemons: Number(flags.daemons),
            without: flags.without,
            cells: figures,
          }))
        )
          process.exitCode = 1
      }),
    )
}
