/** What some tests need of the machine. Where it is missing they are skipped, and say so on standard error. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { openUserfaultfd } from '../src/fault/userfaultfd-open.ts'
import { libc } from '../src/native/libc.ts'

function skipLoudly(reason: string): false {
  process.stderr.write(`\n!! SKIPPED TESTS: ${reason}\n`)
  return false
}

/** For `describe.skipIf(!userfaultfdOrSkipLoudly())`: can this process make a userfaultfd? */
export function userfaultfdOrSkipLoudly(): boolean {
  try {
    libc().close(openUserfaultfd().fd)
    return true
  } catch (error) {
    return skipLoudly((error as Error).message)
  }
}

/** For `describe.skipIf(!compilerOrSkipLoudly())`: is there a C compiler? */
export function compilerOrSkipLoudly(): boolean {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return skipLoudly('no C compiler (cc) to compare constants with the system headers')
  }
}

/** For `it.skipIf(!hugePagesOrSkipLoudly(n))`: are there free 2 MiB pages? */
export function hugePagesOrSkipLoudly(count: number): boolean {
  if (hugePagesFree() >= count) return true
  return skipLoudly(`fewer than ${count} huge pages are free (sysctl vm.nr_hugepages)`)
}

export function hugePagesFree(): number {
  return Number(/^HugePages_Free:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0)
}
