import { type Command, Option } from 'commander'
import { serve } from '../daemon/serve.ts'
import { isOn, type LevelName, levelsAt } from '../levels.ts'
import { otherThreads } from '../native/threads.ts'
import type { LatencySnapshot } from '../ring/latency-snapshot.ts'
import { nicPresets } from '../transport/rdma-sim/nic-presets.ts'
import { parseLink } from '../transport/tcp/link-spec.ts'
import { type Affinity, giveWayToAll, noteHelpers } from '../workers/affinity.ts'
import { schemeOf } from '../workers/transports.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { onceStopped, say } from './signals.ts'
import { formatSize, parseAffinity, parseList, parseRate, parseSize, sayWithout } from './values.ts'

interface Flags {
  image?: string
  synthetic?: number
  listen: string
  nic?: string
  wait: WaitMode
  affinity: Affinity
  without: LevelName[]
  pace?: number
  link?: string
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('a page source: serves one frozen memory image to any number of destinations')
    .option('--image <file>', 'memory image, its size a multiple of 4096')
    .option('--synthetic <size>', 'an image made up here, every page different, e.g. 256MiB', parseSize)
    .option('--listen <url>', 'where destinations dial', 'tcp://127.0.0.1:0')
    .addOption(
      new Option(
        '--nic <name>',
        'with rdma-sim: the NIC that is emulated for destinations that name none',
      ).choices(nicPresets.map(({ name }) => name)),
    )
    .addOption(
      new Option('--wait <mode>', 'how the source waits for requests')
        .choices(WAIT_MODES)
        .default('adaptive'),
    )
    .option(
      '--affinity <cpu>',
      'the processor that the source keeps to: a number, auto or off',
      parseAffinity,
      'auto',
    )
    .option(
      '--without <levels>',
      `levels to switch off, to see what each is worth: ${levelsAt('serve').join(', ')}`,
      parseList,
      [],
    )
    .option('--pace <rate>', 'send the bulk of each destination no faster, e.g. 900Mbit', parseRate)
    .option(
      '--link <rate/rtt[/queue]>',
      'emulate a network in front of all destinations, e.g. 1Gbit/100us/256KiB',
    )
    .action(async (flags: Flags, command: Command) => {
      if ((flags.image === undefined) === (flags.synthetic === undefined)) {
        command.error('error: exactly one of --image FILE and --synthetic SIZE is needed', { exitCode: 2 })
      }
      if (flags.nic !== undefined && schemeOf(flags.listen) !== 'rdma-sim') {
        command.error(`error: --nic ${flags.nic} needs --listen rdma-sim:PATH, not ${flags.listen}`, {
          exitCode: 2,
        })
      }
      const listen = flags.nic === undefined ? flags.listen : withSetting(flags.listen, 'nic', flags.nic)
      const helpers = otherThreads()
      const keepHelpersOff = noteHelpers(isOn('affinity', flags.without) ? flags.affinity : 'off', helpers)
      const serving = await serve({
        ...(flags.image === undefined ? {} : { image: flags.image }),
        ...(flags.synthetic === undefined ? {} : { synthetic: flags.synthetic }),
        listen,
        wait: flags.wait,
        affinity: flags.affinity,
        without: flags.without,
        onStarting: onceStopped,
        ...(flags.pace === undefined ? {} : { pace: flags.pace }),
        ...(flags.link === undefined ? {} : { link: flags.link }),
        onRefused: (reason) => say(`refused ${reason}`),
        onFailed: (error) => {
          say(`faultlane: ${error.message}`)
          process.exit(1)
        },
      })
      const through = flags.link === undefined ? '' : ` emulated link ${flags.link}`
      keepHelpersOff()
      if (isOn('class', flags.without)) giveWayToAll(helpers)
      say(
        `ready ${serving.url} image ${serving.imageId} ${formatSize(serving.bytes)}${through}${sayWithout(flags.without)}`,
      )
      await serving.closed
      if (flags.link !== undefined) {
        say(linkWords(flags.link, serving.linkLateness(), serving.linkQueueing()))
      }
    })
}

/** How true the emulated link was, and what a demand reply met on it. */
function linkWords(link: string, lateness: LatencySnapshot, queueing: LatencySnapshot): string {
  const us = (of: LatencySnapshot) =>
    [50, 99].map((at) => `p${at} ${(of.percentileNs(at) / 1000).toFixed(1)}`).join(' ')
  const { rttNs } = parseLink(link)
  const ratios = [50, 99].map((at) => `p${at} ${(1 + lateness.percentileNs(at) / rttNs).toFixed(3)}`)
  const trip = rttNs === 0 ? '' : `, round trip measured ÷ asked ${ratios.join(' ')}`
  return (
    `emulated link ${link}: ${lateness.count} demand replies, late by ${us(lateness)} µs${trip}, ` +
    `behind others in its queue for ${us(queueing)} µs`
  )
}

function withSetting(url: string, name: string, value: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${name}=${value}`
}
