import { type Command, Option } from 'commander'
import { runDemo } from '../measure/demo.ts'
import { demoPreface, demoReport, demoTable, demoVerdict } from '../measure/demo-report.ts'
import { parseLink } from '../transport/tcp/link-spec.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { interruptible } from './interruptible.ts'
import { writeJson } from './json-output.ts'
import { thisProgram } from './program.ts'
import { Progress } from './progress.ts'
import { parseCount, parseDuration, parseMebibytes } from './values.ts'

interface Flags {
  size: number
  quick: boolean
  vcpus: number
  think: number
  wait: WaitMode
  over: 'auto' | 'userfaultfd' | 'lazy'
  link?: string
  json?: string
}

/** Refused here, before there is a source that would refuse it. */
function checkedLink(text: string): string {
  parseLink(text)
  return text
}

const QUICK_BYTES = 64 * 2 ** 20

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('the whole thing on this machine: two workloads, three ways to prefault, one table')
    .option('--size <size>', 'memory of the client, whole MiB', parseMebibytes, 256 * 2 ** 20)
    .option('--quick', 'a smaller memory: 64MiB', false)
    .option('--vcpus <count>', 'threads of the client that fault', parseCount, 2)
    .option('--think <duration>', 'what a vCPU does between two touches', parseDuration, 20_000)
    .addOption(
      new Option('--wait <mode>', 'how source and destination wait').choices(WAIT_MODES).default('adaptive'),
    )
    .addOption(
      new Option(
        '--over <memory>',
        'what the client faults through; auto: userfaultfd where the kernel allows it',
      )
        .choices(['auto', 'userfaultfd', 'lazy'])
        .default('auto'),
    )
    .option(
      '--link <rate/rtt[/queue]>',
      'an emulated network between source and client instead of bare loopback, e.g. 1Gbit/200us',
      checkedLink,
    )
    .option('--json <file>', 'write what the table shows as JSON, - for standard output')
    .action((flags) => interruptible(() => run(flags)))
}

async function run(flags: Flags): Promise<void> {
  const bytes = flags.quick ? QUICK_BYTES : flags.size
  const progress = new Progress()
  try {
    const result = await runDemo({
      faultlane: thisProgram(),
      bytes,
      vcpus: flags.vcpus,
      thinkNs: flags.think,
      wait: flags.wait,
      over: flags.over,
      ...(flags.link === undefined ? {} : { link: flags.link }),
      onProgress: (text) => progress.tell(text),
    })
    progress.end()
    const report = demoReport(result, {
      image_bytes: bytes,
      vcpus: flags.vcpus,
      think_us: flags.think / 1000,
      wait: flags.wait,
      link: flags.link ?? null,
      node: process.version,
    })
    const text = `${demoPreface(report)}\n\n${demoTable(report)}\n\n${demoVerdict(report)}\n`
    // With the JSON on standard output the table goes where people read, too.
    if (flags.json === '-') process.stderr.write(text)
    else process.stdout.write(text)
    const isWritten = flags.json === undefined || (await writeJson(flags.json, report))
    process.exitCode = report.every_byte_checked && isWritten ? 0 : 1
  } finally {
    progress.end()
  }
}
