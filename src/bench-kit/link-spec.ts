/** Reads a link as a user names it: `loopback`, `netns[:RATE]`, `netns-bands[:RATE]`, or an emulated `RATE/RTT[/QUEUE]`. */
import { FaultlaneError } from '../errors.ts'
import { parseLink } from '../transport/tcp/link-spec.ts'
import type { LinkSpec } from './links.ts'

export function parseLinkSpec(name: string): LinkSpec {
  if (name === 'loopback') return { name, kind: 'loopback', bytesPerSecond: 0, rttUs: 0 }
  const netns = /^netns(-bands)?(?::(\d+(?:\.\d+)?)([MG])bit)?$/.exec(name)
  if (netns) {
    const bits = netns[2] === undefined ? 1e9 : Number(netns[2]) * (netns[3] === 'G' ? 1e9 : 1e6)
    return { name, kind: 'netns', bytesPerSecond: bits / 8, rttUs: 0, hasBands: netns[1] !== undefined }
  }
  if (!name.includes('/')) {
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: '--links',
      got: name,
      expected: 'loopback, netns, netns:RATE, netns-bands or RATE/RTT[/QUEUE], e.g. 1Gbit/100us/256KiB',
    })
  }
  const link = parseLink(name)
  return { name, kind: 'emulated', bytesPerSecond: link.bytesPerSecond, rttUs: link.rttNs / 1000 }
}
