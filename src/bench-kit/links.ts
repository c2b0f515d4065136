/** The links that a bench runs over: how to reach a source over each, and what there is to say of it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Daemon, type Self } from './daemons.ts'
import { makeNamespaceLink, type NamespaceLink } from './namespace-link.ts'

const MIB = 2 ** 20
/** Time that a prefault at the link's full rate takes: long enough to measure demand beside it. */
const PREFAULT_SECONDS = 4
const IMAGE_BYTES_MAX = 2048 * MIB
const IMAGE_BYTES_MIN = 64 * MIB

export interface LinkSpec {
  /** loopback, netns, netns-bands or RATE/RTT[/QUEUE]. */
  readonly name: string
  readonly kind: 'loopback' | 'emulated' | 'netns'
  /** Of netns: its queues have bands, as a network card's default has. */
  readonly hasBands?: boolean
  /** 0: the link is not what limits. */
  readonly bytesPerSecond: number
  readonly rttUs: number
}

/** One source at the far end of a link, and the way to it. */
export interface OpenLink {
  readonly spec: LinkSpec
  readonly about: string
  readonly imageBytes: number
  readonly source: Daemon
  readonly sourceUrl: string
  /** Command words that run a program at the destination's end. */
  readonly atDestination: readonly string[]
  readonly atSource: readonly string[]
  readonly sourceIp: string
  readonly folder: string
  close(): Promise<void>
}

export function imageBytesFor(spec: LinkSpec, seconds = PREFAULT_SECONDS): number {
  if (spec.bytesPerSecond === 0) return IMAGE_BYTES_MAX
  const wanted = 2 ** Math.round(Math.log2(spec.bytesPerSecond * seconds))
  return Math.max(IMAGE_BYTES_MIN, Math.min(IMAGE_BYTES_MAX, wanted))
}

export async function openLink(
  spec: LinkSpec,
  self: Self,
  wait: string,
  imageBytes = imageBytesFor(spec),
): Promise<OpenLink> {
  const folder = mkdtempSync(join(tmpdir(), 'faultlane-bench-'))
  let namespaces: NamespaceLink | undefined
  let source: Daemon | undefined
  const close = async () => {
    await source?.stop()
    namespaces?.remove()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    if (spec.kind === 'netns')
      namespaces = makeNamespaceLink(`${spec.bytesPerSecond * 8}bit`, self.pid, spec.hasBands)
    const sourceIp = namespaces?.sourceIp ?? '127.0.0.1'
    const place = { spec, imageBytes, sourceIp, atSource: namespaces?.atSource ?? [] }
    source = await startSource(place, self, wait)
    return {
      ...place,
      about:
        namespaces?.about ??
        (spec.kind === 'emulated' ? `emulated inside the source, ${spec.name}` : 'loopback'),
      source,
      sourceUrl: urlOf(source),
      atDestination: namespaces?.atDestination ?? [],
      folder,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** The same link with a source of its own, started with other flags, while `work` is done. */
export async function withSource<T>(
  link: OpenLink,
  self: Self,
  wait: string,
  flags: readonly string[],
  work: (link: OpenLink) => Promise<T>,
): Promise<T> {
  const source = await startSource(link, self, wait, flags)
  try {
    return await work({ ...link, source, sourceUrl: urlOf(source) })
  } finally {
    await source.stop()
  }
}

function startSource(
  link: Pick<OpenLink, 'spec' | 'imageBytes' | 'sourceIp' | 'atSource'>,
  self: Self,
  wait: string,
  flags: readonly string[] = [],
): Promise<Daemon> {
  const image = ['--synthetic', String(link.imageBytes), '--listen', `tcp://${link.sourceIp}:0`]
  const how = link.spec.kind === 'emulated' ? ['--link', link.spec.name, '--wait', wait] : ['--wait', wait]
  return Daemon.start([self.node, self.script, 'serve', ...image, ...how, ...flags], link.atSource)
}

const urlOf = (source: Daemon): string => /tcp:\S+/.exec(source.readyLine)?.[0] ?? ''
