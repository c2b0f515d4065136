/** One client's session behind `attach`: starts the handler and the client, and ends both in every case. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { AttachReport } from '../report/attach-report.ts'
import { Daemon, type Self } from './daemons.ts'
import { type Demand, FaultingClient } from './faulting-client.ts'
import type { OpenLink } from './links.ts'

export interface SessionSetup {
  readonly link: OpenLink
  readonly self: Self
  /** off, or a scheduling with prefault on. */
  readonly scheduling: string
  /** Levels that are switched off at the destination. */
  readonly without?: readonly string[]
  readonly demand: Demand
  readonly wait: string
  readonly seed: number
  readonly pages?: Uint32Array
  /** Of the client: from the image's beginning. Default: all of it. */
  readonly clientBytes?: number
  /** The client comes so long after the handler is ready, at the earliest. Default: as soon as it is up itself. */
  readonly settleMs?: number
}

/** How long the rest of a prefault may take once nobody measures it any more. */
const DRAIN_MS_MAX = 8000
let sessions = 0

export class Session {
  readonly handler: Daemon
  readonly client: FaultingClient
  readonly #jsonPath: string

  private constructor(handler: Daemon, client: FaultingClient, jsonPath: string) {
    this.handler = handler
    this.client = client
    this.#jsonPath = jsonPath
  }

  static async start(setup: SessionSetup): Promise<Session> {
    const { link, self, demand } = setup
    const id = ++sessions
    const socketPath = join(link.folder, `${id}.socket`)
    const jsonPath = join(link.folder, `${id}.json`)
    const how = setup.scheduling === 'off' ? ['--prefault', 'off'] : ['--scheduling', setup.scheduling]
    const without = setup.without?.length ? ['--without', setup.without.join(',')] : []
    const command = [self.node, self.script, 'attach', '--socket', socketPath, '--source', link.sourceUrl]
    const handler = await Daemon.start(
      [...command, ...how, ...without, '--wait', setup.wait, '--json', jsonPath],
      link.atDestination,
    )
    const settled = delay(setup.settleMs ?? 0)
    const client = new FaultingClient(setup.clientBytes ?? link.imageBytes, demand, setup.seed, setup.pages)
    const session = new Session(handler, client, jsonPath)
    try {
      await settled
      await client.handOver(socketPath)
      return session
    } catch (error) {
      await session.abandon()
      throw error
    }
  }

  /** Lets a prefault come to its end, so that what was sent can be counted against what was wanted. */
  async finish(letDrain: boolean): Promise<AttachReport> {
    if (letDrain) {
      const timeout = new Promise<void>((resolve) => setTimeout(resolve, DRAIN_MS_MAX).unref())
      await Promise.race([this.handler.ended, timeout])
    }
    this.client.close()
    const timer = setTimeout(() => void this.handler.stop(), 2000)
    await this.handler.ended
    clearTimeout(timer)
    return JSON.parse(readFileSync(this.#jsonPath, 'utf8')) as AttachReport
  }

  /** After a failure: the handler first, or threads that stand in a page would never come out. */
  async abandon(): Promise<void> {
    await this.handler.kill()
    this.client.abandon()
  }
}
