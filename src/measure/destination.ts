/** A source and destinations as processes of this machine, and what a destination says about each client. */
import { join } from 'node:path'
import type { AttachReport } from '../report/attach-report.ts'
import { Child, makeFolder, type Program, removeFolder } from './child.ts'

/** From the last touch to the last page and the report; a slow link may take its time. */
const REPORT_MS_MAX = 60_000

export interface SourceProcess {
  readonly url: string
  stop(): Promise<void>
}

export async function startSource(
  faultlane: Program,
  options: { readonly bytes: number; readonly wait: string; readonly link?: string },
): Promise<SourceProcess> {
  const child = new Child('the source (faultlane serve)', faultlane, [
    ...['serve', '--synthetic', String(options.bytes), '--wait', options.wait],
    ...(options.link === undefined ? [] : ['--link', options.link]),
  ])
  const [, url] = await child.said(/^ready (\S+)/)
  return { url: url as string, stop: () => child.stop() }
}

/** `faultlane attach --keep`: one client after the other. */
export class DestinationProcess {
  readonly socketPath: string
  readonly #folder: string
  readonly #child: Child

  private constructor(folder: string, child: Child) {
    this.#folder = folder
    this.socketPath = join(folder, 'uffd')
    this.#child = child
  }

  static async start(faultlane: Program, flags: readonly string[]): Promise<DestinationProcess> {
    const folder = makeFolder('faultlane')
    const child = new Child('the destination (faultlane attach)', faultlane, [
      ...['attach', '--socket', join(folder, 'uffd'), '--keep', '--json', '-', ...flags],
    ])
    const self = new DestinationProcess(folder, child)
    try {
      await child.said(/^ready /)
      return self
    } catch (error) {
      await self.stop()
      throw error
    }
  }

  /** What it says when a client has ended: because its memory is complete, or because it hung up. */
  async nextReport(): Promise<AttachReport> {
    return JSON.parse(await this.#child.nextLine(REPORT_MS_MAX)) as AttachReport
  }

  /** Rejects when the process ends. */
  async died(): Promise<never> {
    return await this.#child.died()
  }

  async stop(): Promise<void> {
    await this.#child.stop()
    removeFolder(this.#folder)
  }
}
