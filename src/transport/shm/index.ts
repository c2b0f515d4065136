/** Shared memory, source and destination on one host: `shm:PATH`. The destination maps the image. See wire.ts. */
import { CONNECT_TIMEOUT_MS } from '../../config.ts'
import { libc } from '../../native/libc.ts'
import type { SourceTransport } from '../source.ts'
import type { ChannelOptions, ImageInfo, Transport } from '../transport.ts'
import { openShmChannel } from './channel.ts'
import { greet } from './greet.ts'
import { listenShmSource } from './source.ts'

const SCHEMES = ['shm'] as const

export const transport: Transport = {
  schemes: SCHEMES,
  describe(url: string, options: ChannelOptions = {}): ImageInfo {
    const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
    const { info, socket, imageFd } = greet(url, 'describe', options.pageSize ?? 4096, timeoutMs)
    libc().close(socket)
    libc().close(imageFd)
    return info
  },
  open: openShmChannel,
}

export const source: SourceTransport = { schemes: SCHEMES, listen: listenShmSource }
export default transport
