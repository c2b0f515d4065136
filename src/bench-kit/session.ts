/** One client's session behind `attach`: starts the handler and the client, and ends both in every case. */
import { existsSync, readFileSync } from 'node:fs'
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
  /** Takes the client instead of a handler of its own; it belongs to whoever has started it. */
  readonly handler?: HandlerSocket
}

/** One socket of a handler, which may have others. */
export interface HandlerSocket {
  readonly daemon: Daemon
  readonly socketPath: string
  /** Where the client's figures come once it has ended. */
  readonly jsonPath: string
}

/** How long the rest of a prefault may take once nobody measures it any more. */
const DRAIN_MS_MAX = 8000
/** How often its figures are looked for. */
const LOOK_MS = 10
let sessions = 0

export class Session {
  readonly handler: Daemon
  readonly client: FaultingClient
  readonly #jsonPath: string
  readonly #isShared: boolean

  private constructor({ daemon, jsonPath }: HandlerSocket, client: FaultingClient, isShared: boolean) {
    this.handler = daemon
    this.client = client
    this.#jsonPath = jsonPath
    this.#isShared = isShared
  }

  static async start(setup: SessionSetup): Promise<Session> {
    const { link, demand } = setup
    const handler = setup.handler ?? (await startHandler(setup))
    const settled = delay(setup.settleMs ?? 0)
    let client: FaultingClient
    try {
      client = new FaultingClient(setup.clientBytes ?? link.imageBytes, demand, setup.seed, setup.pages)
    } catch (error) {
      await handler.daemon.kill()
      throw error
    }
    const session = new Session(handler, client, setup.handler !== undefined)
    try {
      await settled
      await client.handOver(handler.socketPath)
      return session
    } catch (error) {
      await session.abandon()
      throw error
    }
  }

  /** Lets a prefault come to its end, so that what was sent can be counted against what was wanted. */
  async finish(letDrain: boolean): Promise<AttachReport> {
    if (this.#isShared) return this.#finishAlone()
    if (letDrain) {
      const timeout = new Promise<void>((resolve) => setTimeout(resolve, DRAIN_MS_MAX).unref())
      await Promise.race([this.handler.ended, timeout])
    }
    this.client.close()
    const timer = setTimeout(() => void this.handler.stop(), 2000)
    await this.handler.ended
    clearTimeout(timer)
    return this.#report()
  }

  /** The handler goes on, for others: what it says of this client is all there is to wait for. */
  async #finishAlone(): Promise<AttachReport> {
    this.client.close()
    for (let ms = 0; ms < DRAIN_MS_MAX && !existsSync(this.#jsonPath); ms += LOOK_MS) await delay(LOOK_MS)
    return this.#report()
  }

  #report(): AttachReport {
    return JSON.parse(readFileSync(this.#jsonPath, 'utf8')) as AttachReport
  }

  /** After a failure: the handler first, or threads that stand in a page would never come out. */
  async abandon(): Promise<void> {
    await this.handler.kill()
    this.client.abandon()
  }
}

/** `attach` for each of these sockets, and a file for the figures of each; how else is the session's. */
export async function startHandlers(
  {
    link,
    self,
    scheduling,
    without,
    wait,
  }: Pick<SessionSetup, 'link' | 'self' | 'scheduling' | 'without' | 'wait'>,
  count: number,
): Promise<HandlerSocket[]> {
  const places = Array.from({ length: count }, () => {
    const id = ++sessions
    return { socketPath: join(link.folder, `${id}.socket`), jsonPath: join(link.folder, `${id}.json`) }
  })
  const command = [self.node, self.script, 'attach', '--source', link.sourceUrl, '--wait', wait]
  const how = scheduling === 'off' ? ['--prefault', 'off'] : ['--scheduling', scheduling]
  const off = without?.length ? ['--without', without.join(',')] : []
  const sockets = places.flatMap(({ socketPath, jsonPath }) => ['--socket', socketPath, '--json', jsonPath])
  const daemon = await Daemon.start([...command, ...how, ...off, ...sockets], link.atDestination)
  return places.map((place) => ({ daemon, ...place }))
}

async function startHandler(setup: SessionSetup): Promise<HandlerSocket> {
  return (await startHandlers(setup, 1))[0] as HandlerSocket
}
