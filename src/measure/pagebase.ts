/**
 * The reference programs in C (bench/baselines/pagebase.c): compiled to a temporary directory where there is a
 * compiler, run as processes. Never needed: without `cc` a bench measures Faultlane alone and says so.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { FaultlaneError } from '../errors.ts'
import { Child, makeFolder, type Program, removeFolder } from './child.ts'
import type { TouchOrder } from './touch-order.ts'

const SOURCE_FILE = fileURLToPath(new URL('../../bench/baselines/pagebase.c', import.meta.url))
/** A client that faults 100,000 times through a slow handler. */
const CLIENT_MS_MAX = 120_000

export interface PagebaseClientFigures {
  readonly touches: number
  readonly corrupt: number
  readonly stalled: number
  readonly first_us: number
  readonly p50_us: number
  readonly p90_us: number
  readonly p99_us: number
  readonly p999_us: number
  readonly max_us: number
  readonly stall_ms: number
  readonly elapsed_ms: number
}

export interface PagebaseLoad {
  readonly mib: number
  readonly touches: number
  readonly order: TouchOrder
  readonly threads: number
  readonly regions: number
  readonly thinkUs: number
  readonly seed: number
}

/** Source and handler, ready for one client. */
export interface PagebaseEnds {
  readonly socketPath: string
  /** Resolves with the rate when all has been prefaulted. */
  prefaulted(): Promise<{ readonly ms: number }>
  stop(): Promise<void>
}

export class Pagebase {
  readonly #folder: string
  readonly #program: Program

  private constructor(folder: string) {
    this.#folder = folder
    this.#program = { command: join(folder, 'pagebase'), args: [] }
  }

  /** Compiles it; the reason, where that cannot be. */
  static async build(): Promise<Pagebase | string> {
    if (!existsSync(SOURCE_FILE)) return `${SOURCE_FILE} is not there`
    const folder = makeFolder('faultlane-pagebase')
    const args = ['-O2', '-w', '-o', join(folder, 'pagebase'), SOURCE_FILE, '-lpthread', '-lm']
    try {
      await promisify(execFile)('cc', args)
      return new Pagebase(folder)
    } catch (error) {
      removeFolder(folder)
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      return isMissing ? 'there is no C compiler (cc) on PATH' : `cc failed: ${(error as Error).message}`
    }
  }

  async startEnds(mib: number, wait: 'block' | 'spin', prefault = false): Promise<PagebaseEnds> {
    const port = String(await freePort())
    const socketPath = join(this.#folder, `handler-${port}`)
    const source = new Child('pagebase source', this.#program, [
      ...['source', '--mib', String(mib), '--port', port, '--wait', wait],
    ])
    let handler: Child | undefined
    const stop = async () => {
      await handler?.stop()
      await source.stop()
    }
    try {
      await source.said(/^source ready/)
      handler = new Child('pagebase handler', this.#program, [
        ...[
          'handler',
          '--socket',
          socketPath,
          '--port',
          port,
          '--wait',
          wait,
          ...(prefault ? ['--prefault'] : []),
        ],
      ])
      await handler.said(/^handler ready/)
    } catch (error) {
      await stop()
      throw error
    }
    const running = handler
    return {
      socketPath,
      prefaulted: async () => ({ ms: Number((await running.said(/^prefault done in ([\d.]+) ms/))[1]) }),
      stop,
    }
  }

  /** Runs its client to the end. Throws when a byte was wrong. */
  async runClient(socketPath: string, load: PagebaseLoad): Promise<PagebaseClientFigures> {
    const flags = {
      socket: socketPath,
      mib: load.mib,
      pages: load.touches,
      order: load.order,
      threads: load.threads,
      regions: load.regions,
      'think-us': load.thinkUs,
      seed: load.seed,
    }
    const client = new Child('pagebase client', this.#program, [
      'client',
      ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ])
    try {
      const figures = JSON.parse(await client.nextLine(CLIENT_MS_MAX)) as PagebaseClientFigures
      if (figures.corrupt > 0) {
        const reason = `${figures.corrupt} of ${figures.touches} pages held wrong bytes`
        throw new FaultlaneError({ code: 'CHILD_FAILED', name: client.name, reason })
      }
      await client.succeeded()
      return figures
    } finally {
      await client.stop()
    }
  }

  remove(): void {
    removeFolder(this.#folder)
  }
}

/** pagebase takes no port 0. Another process may take the port before it does; then it says so and the bench ends. */
async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
