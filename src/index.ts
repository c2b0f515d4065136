/**
 * The public API: what a program that embeds Faultlane, and a transport that is loaded by it, may import. Everything
 * else is ours to change.
 */
export { type Failure, FaultlaneError } from './errors.ts'
export { NativeBuffer } from './native/buffer.ts'
export {
  type Channel,
  type ChannelOptions,
  COMPLETION,
  type CompletionSink,
  type ImageInfo,
  type Lane,
  type Transport,
} from './transport/transport.ts'
