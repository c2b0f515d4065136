/**
 * Processes of our own: started, waited for until they say `ready`, and stopped. Whoever starts one ends it; stopAll()
 * ends what a failure has left.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { FaultlaneError } from '../errors.ts'

/** How a process of a kind is started: a command and the arguments that always come first. */
export interface Program {
  readonly command: string
  readonly args: readonly string[]
}

/** A guess: a large synthetic image takes its time. */
const READY_MS_MAX = 60_000
/** From SIGTERM to SIGKILL. Our own processes are gone in less than one second. */
const STOP_MS_MAX = 3000
/** What a process said last, for the message when it fails. */
const TAIL_LINES = 5

const running = new Set<Child>()
/** After stopAll() nothing is started any more: what still runs is on its way out. */
let isStopping = false

export class Child {
  readonly name: string
  /** Lines of its standard output, in order; taken by nextLine(). */
  readonly #lines: string[] = []
  readonly #tail: string[] = []
  readonly #process: ChildProcess
  readonly #gone: Promise<void>
  #isGone = false
  #exit = ''
  #onNews: (() => void) | undefined
  #said: string[] = []

  constructor(name: string, program: Program, args: readonly string[]) {
    if (isStopping)
      throw new FaultlaneError({ code: 'CHILD_FAILED', name, reason: 'it was not started: we are stopping' })
    this.name = name
    this.#process = spawn(program.command, [...program.args, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(this)
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      this.#lines.push(line)
      this.#onNews?.()
    })
    createInterface({ input: this.#process.stderr! }).on('line', (line) => {
      this.#said.push(line)
      this.#tail.push(line)
      if (this.#tail.length > TAIL_LINES) this.#tail.shift()
      this.#onNews?.()
    })
    this.#gone = new Promise((resolve) => {
      const end = (how: string) => {
        this.#exit = how
        this.#isGone = true
        running.delete(this)
        this.#onNews?.()
        resolve()
      }
      this.#process.once('error', (error) => end(error.message))
      // 'close', not 'exit': all that it said has been read by then.
      this.#process.once('close', (code, signal) => end(signal ?? `exit code ${code}`))
    })
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** The first line on standard error that matches. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#until(`to say ${pattern}`, READY_MS_MAX, () => {
      for (let line = this.#said.shift(); line !== undefined; line = this.#said.shift()) {
        const match = pattern.exec(line)
        if (match) return match
      }
      return undefined
    })
  }

  /** The next line of its standard output. */
  async nextLine(timeoutMs: number): Promise<string> {
    return await this.#until('to answer', timeoutMs, () => this.#lines.shift())
  }

  /** Resolves when it has ended by itself; throws when that was no success. */
  async succeeded(): Promise<void> {
    await this.#gone
    if (this.#exit !== 'exit code 0') throw this.#died()
  }

  /** Rejects when it ends, however. */
  async died(): Promise<never> {
    await this.#gone
    throw this.#died()
  }

  async stop(): Promise<void> {
    if (this.#isGone) return
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS_MAX)
    await this.#gone
    clearTimeout(timer)
  }

  async #until<T>(what: string, timeoutMs: number, look: () => T | undefined): Promise<T> {
    const signal = AbortSignal.timeout(timeoutMs)
    const timedOut = once(signal, 'abort')
    for (;;) {
      const found = look()
      if (found !== undefined) return found
      if (this.#isGone) throw this.#died()
      if (signal.aborted) {
        const reason = `it had ${timeoutMs} ms ${what}; ${this.#lastWords()}`
        throw new FaultlaneError({ code: 'CHILD_FAILED', name: this.name, reason })
      }
      const news = new Promise<void>((resolve) => {
        this.#onNews = resolve
      })
      await Promise.race([news, timedOut])
    }
  }

  #died(): FaultlaneError {
    return new FaultlaneError({
      code: 'CHILD_FAILED',
      name: this.name,
      reason: `${this.#exit}; ${this.#lastWords()}`,
    })
  }

  #lastWords(): string {
    return this.#tail.length === 0 ? 'it said nothing' : `it said last: ${this.#tail.join(' | ')}`
  }
}

const folders = new Set<string>()

/** A temporary folder for sockets and programs; removed by removeFolder(), or by stopAll() at the latest. */
export function makeFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`))
  folders.add(folder)
  return folder
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

/** Ends every process that was started here and still runs, and removes every folder that was made here. */
export async function stopAll(): Promise<void> {
  isStopping = true
  await Promise.all([...running].map((child) => child.stop()))
  for (const folder of folders) removeFolder(folder)
}
