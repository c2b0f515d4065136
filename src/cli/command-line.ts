/** argv → configuration → daemon → exit code: 0 done, 1 failed, 2 wrong usage. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { FaultlaneError } from '../errors.ts'
import { giveWayToAll } from '../workers/affinity.ts'
import type { Thread } from '../workers/thread.ts'
import { say, surviveDeafReaders } from './signals.ts'

/** Refusals that are about what was typed, not about the world. */
const USAGE_CODES = new Set(['BAD_ARGUMENT'])

/** Only the command that was asked for is loaded: what the others need takes longer to load than `attach` to start. */
const COMMANDS: Record<string, () => Promise<(program: Command, begun: Begun) => void>> = {
  serve: async () => (await import('./serve-command.ts')).addServe,
  attach: async () => (await import('./attach-command.ts')).addAttach,
  demo: async () => (await import('./demo-command.ts')).addDemo,
  bench: async () => (await import('./bench-command.ts')).addBench,
}

/** What has been there since the program began. */
export interface Begun {
  /** Its threads then: the engine's helpers. */
  readonly helpers: readonly number[]
  /** Started ahead for `attach`; undefined for other commands. */
  readonly demandThread: Thread | undefined
}

export async function runCommandLine(begun: Begun): Promise<void> {
  const program = new Command('faultlane')
    .description(
      'Post-copy page transport: a demand lane that answers page faults, and a prefault lane that never delays it.',
    )
    .exitOverride()
    .showHelpAfterError('(see faultlane --help)')
  const wanted = Object.hasOwn(COMMANDS, process.argv[2] ?? '')
    ? COMMANDS[process.argv[2] as string]
    : undefined
  if (!wanted) program.version(versionOf(), '-V, --version', 'print the version')
  // Beside what is measured, whoever measures is in nobody's way.
  if (wanted === COMMANDS.bench || wanted === COMMANDS.demo)
    program.hook('preAction', () => giveWayToAll(begun.helpers))
  for (const load of wanted ? [wanted] : Object.values(COMMANDS)) (await load())(program, begun)

  surviveDeafReaders()
  try {
    await program.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
    else if (error instanceof FaultlaneError) {
      say(`faultlane: ${error.message}`)
      process.exitCode = USAGE_CODES.has(error.code) ? 2 : 1
    } else {
      // A bug of ours; its stack is for whoever asks for it.
      say(`faultlane: internal error: ${(error as Error).message} (NODE_DEBUG=faultlane shows where)`)
      if (process.env.NODE_DEBUG?.includes('faultlane')) say(String((error as Error).stack))
      process.exitCode = 1
    }
  }
}

function versionOf(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
