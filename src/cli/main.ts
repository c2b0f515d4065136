#!/usr/bin/env node
/** argv → configuration → daemon → exit code: 0 done, 1 failed, 2 wrong usage. */
import { Command, CommanderError } from 'commander'
import { FaultlaneError } from '../errors.ts'
import { addAttach } from './attach-command.ts'
import { addServe } from './serve-command.ts'

/** Refusals that are about what was typed, not about the world. */
const USAGE_CODES = new Set(['BAD_ARGUMENT'])

const program = new Command('faultlane')
  .description(
    'Post-copy page transport: a demand lane that answers page faults, and a prefault lane that never delays it.',
  )
  .exitOverride()
  .showHelpAfterError('(see faultlane --help)')
addServe(program)
addAttach(program)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else if (error instanceof FaultlaneError) {
    process.stderr.write(`faultlane: ${error.message}\n`)
    process.exitCode = USAGE_CODES.has(error.code) ? 2 : 1
  } else throw error
}
