/** `faultlane bench …`: each bench is a subcommand in a file of its own. */
import type { Command } from 'commander'
import { addBenchAblation } from './bench-ablation-command.ts'
import { addBenchBeside } from './bench-beside-command.ts'
import { addBenchFault } from './bench-fault-command.ts'
import { addBenchIsolation } from './bench-isolation-command.ts'
import { addBenchSweep } from './bench-sweep-command.ts'
import { addBenchTouch } from './bench-touch-command.ts'
import { addRdmaBench } from './rdma-bench-command.ts'
import { addTransportBench } from './transport-bench-command.ts'

export function addBench(program: Command): void {
  const bench = program
    .command('bench')
    .description('measurements, each in one run with what it is compared with')
  addBenchFault(bench)
  addBenchIsolation(bench)
  addBenchAblation(bench)
  addBenchSweep(bench)
  addBenchBeside(bench)
  addBenchTouch(bench)
  addRdmaBench(bench)
  addTransportBench(bench)
}
