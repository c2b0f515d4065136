import { once } from 'node:events'
import { type Command, Option } from 'commander'
import { DEMANDS, FaultingClient } from '../bench-kit/faulting-client.ts'
import { PHASE } from '../fault/toucher.ts'
import { onceStopped, say } from './signals.ts'
import { parseSize } from './values.ts'

const ALIVE_MS = 60_000

interface Flags {
  socket: string
  size: number
  demand: Exclude<keyof typeof DEMANDS, 'walk'>
  hold: boolean
}

export function addBenchTouch(bench: Command): void {
  const names = Object.keys(DEMANDS).filter((name) => name !== 'walk')
  bench
    .command('touch')
    .description('a client that only faults: hands memory to a handler and touches it until stopped')
    .requiredOption('--socket <path>', 'where the handler listens')
    .requiredOption('--size <size>', 'bytes of memory, those of the source’s image', parseSize)
    .addOption(new Option('--demand <name>', 'how it faults').choices(names).default('light'))
    .option('--hold', 'hand the memory over on SIGUSR2, and not at once', false)
    .action(async (flags: Flags) => {
      const alive = setInterval(() => {}, ALIVE_MS) // A client that faults from no thread has nothing else to live for.
      try {
        await run(flags)
      } finally {
        clearInterval(alive)
      }
    })
}

async function run({ socket, size, demand, hold }: Flags): Promise<void> {
  const client = new FaultingClient(size, DEMANDS[demand], 7)
  await client.ready()
  if (hold) {
    const told = once(process, 'SIGUSR2')
    say('holding until SIGUSR2')
    await told
  }
  await client.handOver(socket)
  const stopped = new Promise<void>((resolve) =>
    onceStopped(async () => {
      client.setPhase(PHASE.STOP)
      resolve()
    }),
  )
  client.setPhase(PHASE.MEASURE)
  say(`touching ${socket}: ${DEMANDS[demand].about}`)
  if (DEMANDS[demand].threads === 0) await stopped
  const { latency, faults } = await client.touched()
  client.close()
  const us = (percentile: number) => (latency.percentileNs(percentile) / 1000).toFixed(1)
  say(`${faults} faults, p50 ${us(50)} p99 ${us(99)} max ${(latency.maxNs / 1000).toFixed(1)} µs`)
}
