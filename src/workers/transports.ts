/** Finds the transport that answers to a URL's scheme: ours, or a third party's module. */
import { CONNECT_TIMEOUT_MS } from '../config.ts'
import { FaultlaneError } from '../errors.ts'
import type { SourceTransport } from '../transport/source.ts'
import * as tcp from '../transport/tcp/index.ts'
import type { Channel, Lane, Transport } from '../transport/transport.ts'
import type { AttachPlan, LazyPlan } from './plans.ts'

interface TransportModule {
  readonly transport?: Transport
  readonly source?: SourceTransport
  readonly default?: unknown
}

const BUILT_IN: Record<string, () => Promise<TransportModule>> = {
  tcp: async () => tcp, // A rehearsal needs it, whatever the URL.
  shm: () => import('../transport/shm/index.ts'),
  'rdma-sim': () => import('../transport/rdma-sim/index.ts'),
}

export function schemeOf(url: string): string {
  return /^([a-z][a-z0-9+.-]*):/.exec(url)?.[1] ?? ''
}

/** @param modulePath file URL of a third party's module whose default export (or `transport`) is a Transport */
export async function loadTransport(url: string, modulePath?: string): Promise<Transport> {
  const scheme = schemeOf(url)
  if (modulePath !== undefined) {
    let loaded: TransportModule
    try {
      loaded = (await import(modulePath)) as TransportModule
    } catch (cause) {
      throw new FaultlaneError(
        {
          code: 'BAD_ARGUMENT',
          what: '--transport',
          got: modulePath,
          expected: `a module that loads (${(cause as Error).message})`,
        },
        { cause },
      )
    }
    const transport = (loaded.default ?? loaded.transport) as Transport | undefined
    if (!transport || typeof transport.open !== 'function' || !Array.isArray(transport.schemes)) {
      throw new FaultlaneError({
        code: 'BAD_ARGUMENT',
        what: '--transport',
        got: modulePath,
        expected: 'a module whose default export is a Transport (schemes, describe, open)',
      })
    }
    if (transport.schemes.includes(scheme)) return transport
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: 'source URL',
      got: url,
      expected: `one of the schemes of ${modulePath}: ${transport.schemes.join(', ')}`,
    })
  }
  const { transport } = await loadBuiltIn(scheme, url)
  if (!transport) throw unknownScheme(url)
  return transport
}

/** A lane's channel to the image that was described. Throws GEOMETRY_MISMATCH for another, and what Transport.open throws. */
export function openLane(
  transport: Transport,
  plan: Pick<AttachPlan | LazyPlan, 'sourceUrl' | 'pageBytes' | 'imageId' | 'without'>,
  lane: Lane,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Channel {
  const { sourceUrl, pageBytes, without } = plan
  const channel = transport.open(sourceUrl, lane, { pageSize: pageBytes, without, timeoutMs })
  const got = channel.info.imageId
  if (got === plan.imageId) return channel
  channel.close()
  throw new FaultlaneError({
    code: 'GEOMETRY_MISMATCH',
    what: 'image of the source',
    got,
    expected: plan.imageId,
  })
}

export async function loadSourceTransport(url: string): Promise<SourceTransport> {
  const { source } = await loadBuiltIn(schemeOf(url), url)
  if (!source) throw unknownScheme(url)
  return source
}

async function loadBuiltIn(scheme: string, url: string): Promise<TransportModule> {
  const load = Object.hasOwn(BUILT_IN, scheme) ? BUILT_IN[scheme] : undefined
  if (!load) throw unknownScheme(url)
  return load()
}

function unknownScheme(url: string): FaultlaneError {
  return new FaultlaneError({
    code: 'BAD_ARGUMENT',
    what: 'URL',
    got: url,
    expected: `a scheme out of ${Object.keys(BUILT_IN).join(', ')}, e.g. tcp://HOST:PORT`,
  })
}
