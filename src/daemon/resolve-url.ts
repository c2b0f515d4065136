/** Turns a host name in a tcp URL into an address, so that no thread on the page path ever resolves one. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { FaultlaneError } from '../errors.ts'

export async function resolveUrl(url: string): Promise<string> {
  const match = /^tcp:\/\/([^:/[\]]+):(\d+)$/.exec(url)
  const host = match?.[1]
  if (!host || isIP(host) !== 0 || host === 'localhost') return url
  try {
    const { address, family } = await lookup(host)
    return `tcp://${family === 6 ? `[${address}]` : address}:${match[2]}`
  } catch (cause) {
    throw new FaultlaneError(
      {
        code: 'CONNECT_FAILED',
        url,
        reason: `host name ${host} does not resolve (${(cause as NodeJS.ErrnoException).code})`,
      },
      { cause },
    )
  }
}
