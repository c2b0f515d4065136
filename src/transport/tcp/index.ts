/** TCP: one connection per lane, pipelined. `tcp://HOST:PORT`. See wire.ts for what goes over it. */
import { CONNECT_TIMEOUT_MS } from '../../config.ts'
import { libc } from '../../native/libc.ts'
import { dialTcp, parseTcpUrl } from '../../native/socket.ts'
import type { SourceTransport } from '../source.ts'
import type { ChannelOptions, ImageInfo, Transport } from '../transport.ts'
import { openTcpChannel } from './channel.ts'
import { exchangeHello } from './hello.ts'
import { listenTcpSource } from './source.ts'

const SCHEMES = ['tcp'] as const

export const transport: Transport = {
  schemes: SCHEMES,
  describe(url: string, options: ChannelOptions = {}): ImageInfo {
    const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
    const fd = dialTcp(parseTcpUrl(url), timeoutMs)
    try {
      return exchangeHello(fd, url, 'describe', options.pageSize ?? 4096, timeoutMs)
    } finally {
      libc().close(fd)
    }
  },
  open: openTcpChannel,
}

export const source: SourceTransport = { schemes: SCHEMES, listen: listenTcpSource }
export default transport
