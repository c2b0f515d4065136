/** Runs the built command line as real processes, and leaves none behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Running {
  readonly child: ChildProcess
  readonly stderr: () => string
  readonly stdout: () => string
  /** Exit code, or the signal's name. */
  readonly ended: Promise<number | string>
  /** Resolves when standard error matches. Rejects when the process ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>
}

export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'faultlane-cli-'))
  readonly #running: Running[] = []

  path(name: string): string {
    return join(this.folder, name)
  }

  faultlane(...args: string[]): Running {
    return this.node(PROGRAM, ...args)
  }

  node(...args: string[]): Running {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    return this.watch(child)
  }

  /** Standard output goes to `stdout` (a file descriptor) instead. */
  faultlaneTo(stdout: number, ...args: string[]): Running {
    return this.watch(spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', stdout, 'pipe'] }))
  }

  watch(child: ChildProcess): Running {
    let stderr = ''
    let stdout = ''
    child.stderr?.on('data', (data) => {
      stderr += data
    })
    child.stdout?.on('data', (data) => {
      stdout += data
    })
    const ended = once(child, 'close').then(([code, signal]) => (signal ?? code) as number | string)
    const running: Running = {
      child,
      stderr: () => stderr,
      stdout: () => stdout,
      ended,
      async says(pattern) {
        let over = false
        void ended.then(() => {
          over = true
        })
        for (;;) {
          const match = pattern.exec(stderr)
          if (match) return match
          if (over) throw new Error(`ended without saying ${pattern}: ${stderr}`)
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      },
    }
    this.#running.push(running)
    return running
  }

  async serve(...args: string[]): Promise<{ source: Running; url: string }> {
    const source = this.faultlane('serve', ...args)
    const [, url] = await source.says(/ready (\S+)/)
    return { source, url: url as string }
  }

  /** Ends every process, checks that no daemon wrote a stack, and removes the folder. */
  async close(): Promise<void> {
    for (const { child } of this.#running) if (child.exitCode === null) child.kill('SIGKILL')
    await Promise.all(this.#running.map(({ ended }) => ended))
    rmSync(this.folder, { recursive: true })
    for (const { child, stderr } of this.#running) {
      if (!child.spawnargs.includes(PROGRAM)) continue // A client of ours may cry.
      if (/^\s+at .+[:(]\d+|\bnode:internal\b/m.test(stderr()))
        throw new Error(`a raw stack trace: ${stderr()}`)
    }
  }
}
