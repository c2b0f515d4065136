/**
 * The processes that a bench measures: the command line's own `serve` and `attach`, each in a process of its own,
 * started, awaited and ended here. Whoever starts one ends it; if the bench dies first, the kernel ends it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { FaultlaneError } from '../errors.ts'
import { ProcessTime } from './proc-file.ts'

/** How to run this very program again. */
export interface Self {
  readonly node: string
  readonly script: string
  readonly pid: number
}

const READY_MS_MAX = 30_000
const STOP_MS_MAX = 5000
const SETTLE_MS = 300

export class Daemon {
  /** The line that said it was ready. */
  readonly readyLine: string
  readonly ended: Promise<void>
  readonly #child: ChildProcess
  readonly #said: string[]
  readonly #time: ProcessTime

  private constructor(child: ChildProcess, readyLine: string, ended: Promise<void>, said: string[]) {
    this.#child = child
    this.readyLine = readyLine
    this.ended = ended
    this.#said = said
    this.#time = new ProcessTime(child.pid ?? 0)
    void ended.then(() => this.#time.close())
  }

  /**
   * @param prefix command words that run it elsewhere, e.g. in a network namespace
   * @param readyWord begins the line that says it is ready; '': it says nothing, and has a moment instead
   */
  static async start(
    command: readonly string[],
    prefix: readonly string[] = [],
    readyWord = 'ready ',
  ): Promise<Daemon> {
    const [file, ...args] = [...prefix, ...guard(), ...command] as [string, ...string[]]
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const said: string[] = []
    let isEnded = false
    const ended = new Promise<void>((resolve) => {
      const end = () => {
        isEnded = true
        resolve()
      }
      child.once('exit', end)
      child.once('error', (error) => {
        said.push(error.message)
        end()
      })
    })
    const failure = (reason: string) =>
      new FaultlaneError({
        code: 'WORKER_DIED',
        role: command.slice(2, 4).join(' '),
        reason: `${reason}: ${said.join(' | ')}`,
      })
    const readyLine = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () => {
          if (readyWord === '') return resolve('')
          child.kill('SIGKILL')
          reject(failure(`it was not ready after ${READY_MS_MAX} ms`))
        },
        readyWord === '' ? SETTLE_MS : READY_MS_MAX,
      )
      let rest = ''
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          said.push(line)
          if (said.length > 20) said.shift()
          if (readyWord === '' || !line.startsWith(readyWord)) continue
          clearTimeout(timer)
          resolve(line)
        }
      })
      void ended.then(() => {
        clearTimeout(timer)
        reject(failure('it ended before it was ready'))
      })
    })
    if (isEnded) throw failure('it ended at once')
    return new Daemon(child, readyLine, ended, said)
  }

  get isEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  get lastWords(): string {
    return this.#said.join(' | ')
  }

  /** Nanoseconds of processor time that its threads have used so far; once it has ended, as at the last look. */
  cpuNs(): number {
    return this.#time.ns()
  }

  /** Its page faults so far; likewise. */
  faults(): number {
    return this.#time.faults()
  }

  /** To one that holds until it is told. */
  begin(): void {
    this.#child.kill('SIGUSR2')
  }

  async stop(): Promise<void> {
    if (this.isEnded) return
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await this.ended
    clearTimeout(timer)
  }

  async kill(): Promise<void> {
    if (this.isEnded) return
    this.#child.kill('SIGKILL')
    await this.ended
  }
}

let guardWords: string[] | undefined
/** Ends a child whose parent has been killed; where there is no setpriv, a killed bench leaves its children. */
function guard(): string[] {
  if (guardWords) return guardWords
  try {
    execFileSync('setpriv', ['--version'], { stdio: 'pipe' })
    guardWords = ['setpriv', '--pdeathsig', 'KILL', '--']
  } catch {
    guardWords = []
  }
  return guardWords
}
