import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { type Attachment, attachWith } from '../daemon/attach.ts'
import { FaultlaneError } from '../errors.ts'
import type { AgentEvent } from '../lane/agent-event.ts'
import type { LossPolicy } from '../lane/client-session.ts'
import { Neighbourhood } from '../lane/neighbours.ts'
import { isOn, type LevelName, levelsAt } from '../levels.ts'
import { SCHEDULING_NAMES, SCHEDULINGS, type SchedulingName } from '../prefault/schedulings.ts'
import { attachReport, type WaitsUs } from '../report/attach-report.ts'
import { type Affinity, giveWayToAll, noteHelpers } from '../workers/affinity.ts'
import { schemeOf } from '../workers/transports.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import type { Begun } from './command-line.ts'
import { writeJson } from './json-output.ts'
import { onceStopped, STOP_MS_MAX, say } from './signals.ts'
import { formatSize, parseAffinity, parseList, parsePageSize, sayWithout } from './values.ts'

/** Beyond STOP_MS_MAX, for each further handler: one that has only just begun comes up before it hears that it is to stop. */
const STOP_MS_EACH = 400

interface Flags {
  socket: string[]
  source: string[]
  prefault: 'off' | 'sequential'
  wait: WaitMode
  affinity: Affinity
  onLoss: LossPolicy
  keep: boolean
  pageSize: number
  scheduling: SchedulingName
  without: LevelName[]
  transport?: string
  json?: string[]
}

/** One client of the command line, or with --keep one after the other. */
interface Handler {
  readonly socket: string
  readonly source: string
  readonly json: string | undefined
  /** Begins what is said of it; '' where it is the only one. */
  readonly name: string
}

const another = (word: string, before: readonly string[] = []): string[] => [...before, word]

export function addAttach(program: Command, begun: Begun): void {
  program
    .command('attach')
    .description('a fault handler: takes a client’s userfaultfd in and answers its faults from a page source')
    .requiredOption(
      '--socket <path>',
      'unix socket on which the client hands over its userfaultfd (Firecracker’s handshake); again for each further client, up to 64',
      another,
    )
    .requiredOption(
      '--source <url>',
      'the page source, as `serve` printed it: one for all, or one for each --socket in their order',
      another,
    )
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
    .option('--keep', 'go on listening, on each socket one client after the other', false)
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
    .option(
      '--json <file>',
      'write the figures of each client as JSON, - for standard output; with several sockets a file for each, in their order',
      another,
    )
    .action((flags: Flags) => run(flags, begun))
}

/** Throws BAD_ARGUMENT where the words do not go together. */
function handlersOf({ socket, source, json = [] }: Flags): Handler[] {
  const refuse = (what: string, got: string, expected: string) =>
    new FaultlaneError({ code: 'BAD_ARGUMENT', what, got, expected })
  const sockets = socket.length
  if (new Set(socket.map((path) => resolve(path))).size !== sockets)
    throw refuse('--socket', socket.join(', '), 'another socket for each client')
  if (source.length !== 1 && source.length !== sockets)
    throw refuse(
      '--source',
      `${source.length} sources for ${sockets} sockets`,
      'one for all, or one for each',
    )
  const isShared = json.length === 1 && json[0] === '-'
  if (json.length > 0 && !isShared && new Set(json.map((path) => resolve(path))).size !== sockets)
    throw refuse('--json', `${new Set(json).size} files for ${sockets} sockets`, 'one for each, or - for all')
  return socket.map((path, i) => ({
    socket: path,
    source: source[source.length === 1 ? 0 : i] as string,
    json: isShared ? '-' : json[i],
    name: sockets === 1 ? '' : `${path}: `,
  }))
}

/** Nothing where no fault met a page in flight. */
function promotedText({ count, p99 }: WaitsUs): string {
  return count === 0 ? '' : `${count} waited for prefault, p99 ${p99} µs; `
}

async function run(flags: Flags, { helpers, demandThread }: Begun): Promise<void> {
  const handlers = handlersOf(flags)
  const keepHelpersOff = noteHelpers(isOn('affinity', flags.without) ? flags.affinity : 'off', helpers)
  let failed = false
  const written: Promise<boolean>[] = []
  const onEvent = ({ socket, source, json, name }: Handler, event: AgentEvent) => {
    const tell = (text: string) => say(name + text)
    switch (event.kind) {
      case 'client':
        tell(
          `client ${event.pid}: ${event.pages} pages in ${event.regions} region${event.regions === 1 ? '' : 's'}`,
        )
        break
      case 'refused':
        tell(`refused a client: ${event.reason}`)
        break
      case 'source-lost':
        tell(
          `source lost: ${event.reason}; policy: ${flags.onLoss === 'wait' ? 'touchers wait for it' : 'the client is killed'}`,
        )
        break
      case 'source-back':
        tell('source is back')
        break
      case 'ended': {
        const { wait, scheduling, without } = flags
        const context = { transport: schemeOf(source), wait, scheduling, without, node: process.version }
        const report = attachReport(event.report, { socket, ...context })
        const { pages, demand_us: us, promoted_us: promoted } = report
        tell(
          `client ended (${report.end}): ${pages.demanded} demanded, ${pages.prefaulted} prefaulted, ${pages.zero} zero of ${pages.total} pages; ` +
            `demand p50 ${us.p50} µs, p99 ${us.p99} µs; ${promotedText(promoted)}${formatSize(report.bytes_received)} in ${report.elapsed_ms} ms`,
        )
        if (event.report.end === 'source-lost') failed = true
        if (json !== undefined) written.push(writeJson(json, report))
      }
    }
  }
  const neighbourhood = handlers.length > 1 ? new Neighbourhood(handlers.length) : undefined
  const stops = new Map<Handler, () => Promise<void>>()
  const lost = new Set<Handler>()
  let isStopping = false
  const stopAll = async () => {
    isStopping = true
    for (let count = -1; count < stops.size; ) {
      count = stops.size // One more may have started meanwhile.
      await Promise.all([...stops.values()].map((stop) => stop()))
    }
  }
  const onFailed = (handler: Handler, error: FaultlaneError) => {
    say(`faultlane: ${handler.name}${error.message}`)
    if (handlers.length === 1) process.exit(1)
    lost.add(handler) // The others' clients have nothing to do with it.
    failed = true
    void stops.get(handler)?.()
  }
  const start = (handler: Handler, onStarting: () => void) =>
    attachWith(handler === handlers[0] ? demandThread : undefined, {
      socket: handler.socket,
      source: handler.source,
      prefault: flags.prefault,
      wait: flags.wait,
      affinity: flags.affinity,
      onLoss: flags.onLoss,
      keep: flags.keep,
      pageSize: flags.pageSize,
      scheduling: flags.scheduling,
      without: flags.without,
      ...(neighbourhood && { neighbourhood }),
      ...(flags.transport === undefined
        ? {}
        : { transport: new URL(flags.transport, `file://${process.cwd()}/`).href }),
      onStarting: (stop) => {
        stops.set(handler, stop)
        if (stops.size === 1) onceStopped(stopAll, STOP_MS_MAX + (handlers.length - 1) * STOP_MS_EACH)
        if (isStopping) void stop()
        onStarting()
      },
      onEvent: (event) => onEvent(handler, event),
      onFailed: (error) => onFailed(handler, error),
    })
  const starting: Promise<Attachment>[] = []
  let attachments: Attachment[]
  try {
    // They start together, a socket more takes half of what the first does; but each has found its source before the next one asks: that
    // blocks this thread, for seconds where nobody answers.
    for (const handler of handlers) {
      if (isStopping) break
      await new Promise<void>((resolve) => {
        const attachment = start(handler, resolve)
        starting.push(attachment)
        attachment.catch(() => {
          isStopping = true
          resolve()
        })
      })
    }
    attachments = await Promise.all(starting)
  } catch (error) {
    await stopAll() // No socket is left behind by those that had started.
    throw error
  }
  keepHelpersOff()
  if (isOn('class', flags.without)) giveWayToAll(helpers)
  // All at once: whoever waits for this may connect to any of them. Nobody is to, once they end.
  for (const [i, { pageCount, pageSize, imageId }] of attachments.entries()) {
    const handler = handlers[i] as Handler
    if (isStopping || lost.has(handler)) continue
    const { socket, source } = handler
    say(
      `ready ${socket} source ${source} image ${imageId} ${formatSize(pageCount * pageSize)}${sayWithout(flags.without)}`,
    )
  }
  await Promise.all(attachments.map((attachment) => attachment.ended))
  if ((await Promise.all(written)).includes(false)) failed = true
  process.exitCode = failed ? 1 : 0
}
