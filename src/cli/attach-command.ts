import { type Command, Option } from 'commander'
import { attachWith } from '../daemon/attach.ts'
import type { FaultlaneError } from '../errors.ts'
import type { AgentEvent } from '../lane/agent-event.ts'
import type { LossPolicy } from '../lane/client-session.ts'
import { isOn, type LevelName, levelsAt } from '../levels.ts'
import { SCHEDULING_NAMES, SCHEDULINGS, type SchedulingName } from '../prefault/schedulings.ts'
import { attachReport, type WaitsUs } from '../report/attach-report.ts'
import { type Affinity, noteHelpers } from '../workers/affinity.ts'
import { schemeOf } from '../workers/transports.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import type { Begun } from './command-line.ts'
import { writeJson } from './json-output.ts'
import { onceStopped, say } from './signals.ts'
import { formatSize, parseAffinity, parseList, parsePageSize, sayWithout } from './values.ts'

interface Flags {
  socket: string
  source: string
  prefault: 'off' | 'sequential'
  wait: WaitMode
  affinity: Affinity
  onLoss: LossPolicy
  keep: boolean
  pageSize: number
  scheduling: SchedulingName
  without: LevelName[]
  transport?: string
  json?: string
}

export function addAttach(program: Command, begun: Begun): void {
  program
    .command('attach')
    .description('a fault handler: takes a client’s userfaultfd in and answers its faults from a page source')
    .requiredOption(
      '--socket <path>',
      'unix socket on which the client hands over its userfaultfd (Firecracker’s handshake)',
    )
    .requiredOption('--source <url>', 'the page source, as `serve` printed it')
    .addOption(
      new Option('--prefault <policy>', 'what to fetch ahead')
        .choices(['off', 'sequential'])
        .default('sequential'),
    )
    .addOption(
      new Option('--wait <mode>', 'how the demand agent waits').choices(WAIT_MODES).default('adaptive'),
    )
    .option(
      '--affinity <cpu>',
      'the processor that the demand agent keeps to: a number, auto or off',
      parseAffinity,
      'auto',
    )
    .addOption(
      new Option(
        '--on-loss <policy>',
        'when the source is gone: touchers wait for it, or the client is killed',
      )
        .choices(['wait', 'kill'])
        .default('wait'),
    )
    .option('--keep', 'go on listening, one client after the other', false)
    .option('--page-size <size>', 'the client’s page size: 4096, or 2MiB for hugetlb', parsePageSize, 4096)
    .addOption(
      new Option(
        '--scheduling <name>',
        `who gets the wire when; for comparison: ${SCHEDULING_NAMES.map((name) => `${name}: ${SCHEDULINGS[name].about}`).join('; ')}`,
      )
        .choices(SCHEDULING_NAMES)
        .default('S2'),
    )
    .option(
      '--without <levels>',
      `levels to switch off, to see what each is worth: ${levelsAt('attach').join(', ')}`,
      parseList,
      [],
    )
    .option('--transport <module>', 'a third party’s transport (an ES module, ./file.js)')
    .option('--json <file>', 'write the figures of each client as JSON, - for standard output')
    .action((flags: Flags) => run(flags, begun))
}

/** Nothing where no fault met a page in flight. */
function promotedText({ count, p99 }: WaitsUs): string {
  return count === 0 ? '' : `${count} waited for prefault, p99 ${p99} µs; `
}

async function run(flags: Flags, { helpers, demandThread }: Begun): Promise<void> {
  const keepHelpersOff = noteHelpers(isOn('affinity', flags.without) ? flags.affinity : 'off', helpers)
  let failed = false
  const written: Promise<boolean>[] = []
  const context = {
    transport: schemeOf(flags.source),
    wait: flags.wait,
    scheduling: flags.scheduling,
    without: flags.without,
    node: process.version,
  }
  const onEvent = (event: AgentEvent) => {
    switch (event.kind) {
      case 'client':
        say(
          `client ${event.pid}: ${event.pages} pages in ${event.regions} region${event.regions === 1 ? '' : 's'}`,
        )
        break
      case 'refused':
        say(`refused a client: ${event.reason}`)
        break
      case 'source-lost':
        say(
          `source lost: ${event.reason}; policy: ${flags.onLoss === 'wait' ? 'touchers wait for it' : 'the client is killed'}`,
        )
        break
      case 'source-back':
        say('source is back')
        break
      case 'ended': {
        const report = attachReport(event.report, context)
        const { pages, demand_us: us, promoted_us: promoted } = report
        say(
          `client ended (${report.end}): ${pages.demanded} demanded, ${pages.prefaulted} prefaulted, ${pages.zero} zero of ${pages.total} pages; ` +
            `demand p50 ${us.p50} µs, p99 ${us.p99} µs; ${promotedText(promoted)}${formatSize(report.bytes_received)} in ${report.elapsed_ms} ms`,
        )
        if (event.report.end === 'source-lost') failed = true
        if (flags.json !== undefined) written.push(writeJson(flags.json, report))
      }
    }
  }
  const onFailed = (error: FaultlaneError) => {
    say(`faultlane: ${error.message}`)
    process.exit(1)
  }
  const attachment = await attachWith(demandThread, {
    socket: flags.socket,
    source: flags.source,
    prefault: flags.prefault,
    wait: flags.wait,
    affinity: flags.affinity,
    onLoss: flags.onLoss,
    keep: flags.keep,
    pageSize: flags.pageSize,
    scheduling: flags.scheduling,
    without: flags.without,
    ...(flags.transport === undefined
      ? {}
      : { transport: new URL(flags.transport, `file://${process.cwd()}/`).href }),
    onStarting: onceStopped,
    onEvent,
    onFailed,
  })
  keepHelpersOff()
  say(
    `ready ${flags.socket} source ${flags.source} image ${attachment.imageId} ${formatSize(attachment.pageCount * attachment.pageSize)}${sayWithout(flags.without)}`,
  )
  await attachment.ended
  if ((await Promise.all(written)).includes(false)) failed = true
  process.exitCode = failed ? 1 : 0
}
