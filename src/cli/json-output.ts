/** Writes JSON to a file or standard output; a full disk is said, and the figures still reach the user. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { say } from './signals.ts'

export function writeJson(target: string, value: unknown): boolean {
  const text = `${JSON.stringify(value)}\n`
  if (target === '-') {
    process.stdout.write(text)
    return true
  }
  // A whole file or none: a reader never sees half of one.
  const partial = `${target}.${process.pid}.partial`
  try {
    writeFileSync(partial, text)
    renameSync(partial, target)
    return true
  } catch (error) {
    rmSync(partial, { force: true })
    say(
      `faultlane: --json ${target}: cannot be written (${(error as NodeJS.ErrnoException).code}); the figures are: ${text.trim()}`,
    )
    return false
  }
}
