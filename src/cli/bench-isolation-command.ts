import { setMaxListeners } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { DEMANDS, type DemandName } from '../bench-kit/faulting-client.ts'
import { benchIsolation } from '../bench-kit/isolation.ts'
import { isolationPicture } from '../bench-kit/isolation-picture.ts'
import { isolationJson, isolationTable } from '../bench-kit/isolation-table.ts'
import { parseLinkSpec } from '../bench-kit/link-spec.ts'
import { whyNoNamespaces } from '../bench-kit/namespace-link.ts'
import { PEER, whyNoPeer } from '../bench-kit/nbd-peer.ts'
import { FaultlaneError } from '../errors.ts'
import { SCHEDULING_NAMES } from '../prefault/schedulings.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { writeJson } from './json-output.ts'
import { say } from './signals.ts'
import { parseCount, parseDuration, parseSize } from './values.ts'

interface Flags {
  links: string
  schedulings: string
  demands: string
  runs: number
  measure: number
  wait: WaitMode
  imageSize?: number
  json?: string
  picture?: string
  smoke: boolean
}

export function addBenchIsolation(bench: Command): void {
  bench
    .command('isolation')
    .description(
      'does prefault delay a demand fault? Latency beside a saturating prefault, for each way of scheduling the two',
    )
    .option('--links <list>', 'loopback, netns[:RATE] (root), RATE/RTT[/QUEUE] (emulated)', 'loopback,netns')
    .option(
      '--schedulings <list>',
      `of ${SCHEDULING_NAMES.join(', ')} and ${PEER} (nbdkit and libnbd)`,
      [...SCHEDULING_NAMES, PEER].join(','),
    )
    .option('--demands <list>', `of ${Object.keys(DEMANDS).join(', ')}`, 'none,light,heavy1,heavy16')
    .option('--runs <count>', 'interleaved rounds; medians are shown', parseCount, 5)
    .option('--measure <duration>', 'longest measurement of one cell', parseDuration, 3e9)
    .addOption(
      new Option('--wait <mode>', 'how handler and source wait').choices(WAIT_MODES).default('adaptive'),
    )
    .option('--image-size <size>', 'instead of four seconds of prefault at the link’s rate', parseSize)
    .option('--json <file>', 'write the figures as JSON, - for standard output')
    .option('--picture <file.svg>', 'write the latency distributions as a picture')
    .option('--smoke', 'seconds only, to see that it works: no figure of it means anything', false)
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const smoke = flags.smoke
  const links = split(smoke && flags.links === 'loopback,netns' ? 'loopback' : flags.links).map(parseLinkSpec)
  const reason = links.some((link) => link.kind === 'netns') ? whyNoNamespaces() : undefined
  if (reason) say(`without the namespace link: ${reason}`)
  const wanted = choose('--schedulings', flags.schedulings, [...SCHEDULING_NAMES, PEER])
  const noPeer = wanted.includes(PEER) ? whyNoPeer() : undefined
  if (noPeer) say(`without the outside peer: ${noPeer}`)
  await untilStopped(async (signal) => {
    const result = await benchIsolation({
      links: reason ? links.filter((link) => link.kind !== 'netns') : links,
      schedulings: wanted.filter((name) => name !== PEER || noPeer === undefined),
      demands: choose('--demands', flags.demands, Object.keys(DEMANDS)) as DemandName[],
      runs: smoke ? 1 : flags.runs,
      wait: flags.wait,
      limits: smoke ? { warmMs: 0, measureMs: 300 } : { warmMs: 200, measureMs: flags.measure / 1e6 },
      ...(smoke
        ? { imageBytes: 512 * 2 ** 20 }
        : flags.imageSize === undefined
          ? {}
          : { imageBytes: flags.imageSize }),
      self: { node: process.execPath, script: process.argv[1] ?? '', pid: process.pid },
      signal,
      say,
    })
    if (flags.json !== '-') process.stdout.write(`${isolationTable(result)}\n`)
    if (
      flags.json !== undefined &&
      !(await writeJson(flags.json, isolationJson(result, process.version, flags.wait)))
    )
      process.exitCode = 1
    if (flags.picture !== undefined) writeFileSync(flags.picture, isolationPicture(result))
  })
}

/** Runs a bench that takes away what it has made when the user stops it. */
export async function untilStopped(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const aborter = new AbortController()
  setMaxListeners(0, aborter.signal) // Every wait of a bench listens.
  // Not onceStopped: taking a link and its namespaces down may take longer than a daemon's stop.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => aborter.abort())
  try {
    await work(aborter.signal)
  } catch (error) {
    if (!aborter.signal.aborted) throw error
    say('stopped; everything is removed')
    process.exitCode = 130
  }
}

export const split = (list: string): string[] => list.split(',').map((word) => word.trim())

/** Each word must be one of `known`. */
export function choose(flag: string, list: string, known: readonly string[]): string[] {
  for (const word of split(list)) {
    if (!known.includes(word)) {
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: flag,
        got: word,
        expected: `some of ${known.join(', ')}`,
      })
    }
  }
  return split(list)
}
