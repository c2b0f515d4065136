/** Writes JSON to a file or standard output; a full disk is said, and the figures still reach the user. */
import { renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { say } from './signals.ts'

export async function writeJson(target: string, value: unknown): Promise<boolean> {
  const text = `${JSON.stringify(value)}\n`
  try {
    if (target === '-') await writeToStandardOutput(text)
    // A device or a pipe takes what is written; a file of that name in its place would be a loss.
    else if (isSpecial(target)) writeFileSync(target, text)
    else writeWhole(target, text)
    return true
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
    say(`faultlane: --json ${target}: cannot be written (${reason}); the figures are: ${text.trim()}`)
    return false
  }
}

/** A whole file or none: a reader never sees half of one. */
function writeWhole(target: string, text: string): void {
  const partial = `${target}.${process.pid}.partial`
  try {
    writeFileSync(partial, text)
    renameSync(partial, target)
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}

function isSpecial(target: string): boolean {
  const stat = statSync(target, { throwIfNoEntry: false })
  return stat !== undefined && !stat.isFile() && !stat.isDirectory()
}

function writeToStandardOutput(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.once('error', reject) // Stays: a late EPIPE must not end the process.
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()))
  })
}
