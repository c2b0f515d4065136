/** Emulated RDMA as a transport, source and destination on one host: `rdma-sim:PATH`. The NIC lives in the reader. */
import { CONNECT_TIMEOUT_MS } from '../../config.ts'
import type { ImageDescription } from '../../memory/image.ts'
import { closeGreeted, greet } from '../shared-image/greet.ts'
import { ImageShare } from '../shared-image/source.ts'
import type { SourceAgent, SourceOptions, SourceTransport } from '../source.ts'
import type { ChannelOptions, ImageInfo, Transport } from '../transport.ts'
import { parseAddress, RDMA_SIM } from './address.ts'
import { openRdmaSimChannel } from './channel.ts'
import { DEFAULT_NIC } from './nic-presets.ts'
import { createPort } from './shared-port.ts'

const SCHEMES = [RDMA_SIM.scheme] as const

export const transport: Transport = {
  schemes: SCHEMES,
  describe(text: string, options: ChannelOptions = {}): ImageInfo {
    const { url } = parseAddress(text)
    const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS
    const greeted = greet(RDMA_SIM, url, 'describe', options.pageSize ?? 4096, timeoutMs)
    closeGreeted(greeted)
    return greeted.info
  },
  open: openRdmaSimChannel,
}

export const source: SourceTransport = {
  schemes: SCHEMES,
  listen(text: string, image: ImageDescription, options: SourceOptions): SourceAgent {
    const { url, nic } = parseAddress(text)
    return new ImageShare(RDMA_SIM, url, image, options, () => [createPort(nic ?? DEFAULT_NIC)])
  },
}
export default transport
