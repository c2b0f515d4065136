/** Shared memory, source and destination on one host: `shm:PATH`. The destination maps the image. */
import { CONNECT_TIMEOUT_MS } from '../../config.ts'
import { closeGreeted, greet } from '../shared-image/greet.ts'
import { ImageShare } from '../shared-image/source.ts'
import type { SourceTransport } from '../source.ts'
import type { ChannelOptions, ImageInfo, Transport } from '../transport.ts'
import { openShmChannel } from './channel.ts'
import { SHM } from './protocol.ts'

const SCHEMES = ['shm'] as const

export const transport: Transport = {
  schemes: SCHEMES,
  describe(url: string, options: ChannelOptions = {}): ImageInfo {
    const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
    const greeted = greet(SHM, url, 'describe', options.pageSize ?? 4096, timeoutMs)
    closeGreeted(greeted)
    return greeted.info
  },
  open: openShmChannel,
}

export const source: SourceTransport = {
  schemes: SCHEMES,
  listen: (url, image, options) => new ImageShare(SHM, url, image, options),
}
export default transport
