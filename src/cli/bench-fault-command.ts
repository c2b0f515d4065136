import { type Command, InvalidArgumentError, Option } from 'commander'
import { runFaultBench } from '../measure/fault-bench.ts'
import { faultBenchReport, faultBenchText } from '../measure/fault-bench-report.ts'
import { runStreamSink, runStreamSource } from '../measure/raw-stream.ts'
import { TOUCH_ORDERS, type TouchOrder } from '../measure/touch-order.ts'
import { WAIT_MODES, type WaitMode } from '../workers/wait.ts'
import { interruptible } from './interruptible.ts'
import { writeJson } from './json-output.ts'
import { thisProgram } from './program.ts'
import { Progress } from './progress.ts'
import { say } from './signals.ts'
import { parseCount, parseDuration, parseMebibytes } from './values.ts'

interface FaultFlags {
  size: number
  touches: number
  threads: number
  regions: number
  order: TouchOrder
  think: number
  rounds: number
  wait: WaitMode[]
  rate: boolean
  json?: string
}

export function addBenchFault(bench: Command): void {
  bench
    .command('fault')
    .description(
      'touch to resume over TCP, and the rate of prefault alone; beside the reference in C where there is a compiler',
    )
    .option('--size <size>', 'memory of the client, whole MiB', parseMebibytes, 256 * 2 ** 20)
    .option('--touches <count>', 'pages touched in a round', parseCount, 5000)
    .option('--threads <count>', 'threads of the client that fault', parseCount, 1)
    .option('--regions <count>', 'regions of the client’s handshake', parseCount, 1)
    .addOption(new Option('--order <order>', 'which page after which').choices(TOUCH_ORDERS).default('rand'))
    .option('--think <duration>', 'what a thread does between two touches', parseDuration, 0)
    .option('--rounds <count>', 'rounds, each with every configuration', parseCount, 5)
    .option('--wait <modes>', `how both ends wait: one or more of ${WAIT_MODES.join(',')}`, parseWaits, [
      ...WAIT_MODES,
    ])
    .option('--no-rate', 'leave the rate of prefault out')
    .option('--json <file>', 'write all figures as JSON, - for standard output')
    .action((flags) => interruptible(() => runFault(flags)))
  // The two ends of the raw stream, which `bench fault` starts as processes.
  bench.command('stream-source <bytes>', { hidden: true }).action((bytes: string) => {
    runStreamSource(Number(bytes), (url) => say(`ready ${url}`))
  })
  bench.command('stream-sink <url> <bytes>', { hidden: true }).action((url: string, bytes: string) => {
    process.stdout.write(`${runStreamSink(url, Number(bytes))}\n`)
  })
}

async function runFault(flags: FaultFlags): Promise<void> {
  const progress = new Progress()
  const options = {
    faultlane: thisProgram(),
    bytes: flags.size,
    freeBytes: () => process.availableMemory(),
    touches: flags.touches,
    threads: flags.threads,
    regions: flags.regions,
    order: flags.order,
    thinkNs: flags.think,
    rounds: flags.rounds,
    waits: flags.wait,
    rate: flags.rate,
    onProgress: (text: string) => progress.tell(text),
  }
  try {
    const report = faultBenchReport(await runFaultBench(options), options, process.version)
    progress.end()
    const text = `${faultBenchText(report)}\n`
    if (flags.json === '-') process.stderr.write(text)
    else process.stdout.write(text)
    if (flags.json !== undefined && !(await writeJson(flags.json, report))) process.exitCode = 1
  } finally {
    progress.end()
  }
}

function parseWaits(text: string): WaitMode[] {
  const modes = text.split(',')
  const isMode = (mode: string): mode is WaitMode => (WAIT_MODES as readonly string[]).includes(mode)
  if (!modes.every(isMode)) throw new InvalidArgumentError(`expected one or more of ${WAIT_MODES.join(',')}.`)
  return modes
}
