import { type Command, Option } from 'commander'
import { benchAblation } from '../bench-kit/ablation.ts'
import { ablationJson, ablationTable } from '../bench-kit/ablation-table.ts'
import { DEMANDS, type DemandName } from '../bench-kit/faulting-client.ts'
import { parseLinkSpec } from '../bench-kit/link-spec.ts'
import { whyNoNamespaces } from '../bench-kit/namespace-link.ts'
import { ABLATION_LEVEL_NAMES, type LevelName } from '../levels.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { choose, split, untilStopped } from './bench-isolation-command.ts'
import { writeJson } from './json-output.ts'
import { say } from './signals.ts'
import { parseCount, parseDuration, parseSize } from './values.ts'

interface Flags {
  links: string
  levels: string
  without?: string
  demands: string
  runs: number
  measure: number
  wait: WaitMode
  imageSize?: number
  json?: string
  smoke: boolean
}

const DEMAND_NAMES = Object.keys(DEMANDS).filter((name) => name !== 'none' && name !== 'walk')

export function addBenchAblation(bench: Command): void {
  bench
    .command('ablation')
    .description(
      'what is each level worth that keeps prefault from delaying demand? All on, and each off in turn',
    )
    .option(
      '--links <list>',
      'loopback, netns[:RATE], netns-bands[:RATE] (root), RATE/RTT[/QUEUE] (emulated)',
      'loopback,netns',
    )
    .option('--levels <list>', `of ${ABLATION_LEVEL_NAMES.join(', ')}`, ABLATION_LEVEL_NAMES.join(','))
    .option('--without <list>', 'levels that are off in all rows, to see what the others are worth then')
    .option('--demands <list>', `of ${DEMAND_NAMES.join(', ')}`, 'light')
    .option('--runs <count>', 'interleaved rounds; medians are shown', parseCount, 3)
    .option('--measure <duration>', 'longest measurement of one cell', parseDuration, 1e9)
    .addOption(
      new Option('--wait <mode>', 'how handler and source wait').choices(WAIT_MODES).default('adaptive'),
    )
    .option('--image-size <size>', 'instead of two seconds of prefault at the link’s rate', parseSize)
    .option('--json <file>', 'write the figures as JSON, - for standard output')
    .option('--smoke', 'seconds only, to see that it works: no figure of it means anything', false)
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const { smoke } = flags
  const links = split(smoke && flags.links === 'loopback,netns' ? 'loopback' : flags.links).map(parseLinkSpec)
  const reason = links.some((link) => link.kind === 'netns') ? whyNoNamespaces() : undefined
  if (reason) say(`without the namespace link: ${reason}`)
  const imageBytes = smoke ? 512 * 2 ** 20 : flags.imageSize
  await untilStopped(async (signal) => {
    const result = await benchAblation({
      links: reason ? links.filter((link) => link.kind !== 'netns') : links,
      levels: choose('--levels', flags.levels, ABLATION_LEVEL_NAMES) as LevelName[],
      without:
        flags.without === undefined
          ? []
          : (choose('--without', flags.without, ABLATION_LEVEL_NAMES) as LevelName[]),
      demands: choose('--demands', flags.demands, DEMAND_NAMES) as Exclude<DemandName, 'none'>[],
      runs: smoke ? 1 : flags.runs,
      wait: flags.wait,
      limits: smoke ? { warmMs: 0, measureMs: 300 } : { warmMs: 200, measureMs: flags.measure / 1e6 },
      ...(imageBytes === undefined ? {} : { imageBytes }),
      self: { node: process.execPath, script: process.argv[1] ?? '', pid: process.pid },
      signal,
      say,
    })
    if (flags.json !== '-') process.stdout.write(`${ablationTable(result)}\n`)
    if (
      flags.json !== undefined &&
      !(await writeJson(flags.json, ablationJson(result, process.version, flags.wait)))
    )
      process.exitCode = 1
  })
}
