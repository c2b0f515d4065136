/**
 * The public API: what a program that embeds Faultlane, and a transport that is loaded by it, may import. Everything
 * else is ours to change. `faultlane/conformance` is an entry of its own.
 *
 * A daemon starts a page source with `serve`, answers the faults of another process (a virtual machine monitor) with
 * `attach`, and opens remote memory for its own threads with `openLazyMemory`; a thread that did not open it gets
 * its end with `joinLazyMemory`. All three take the transport from the URL's scheme, or from a module of yours.
 *
 * @packageDocumentation
 */
export { type Attachment, type AttachOptions, type AttachProgress, attach } from './daemon/attach.ts'
export {
  joinLazyMemory,
  type LazyOptions,
  type LazyProgress,
  type LazyShare,
  type OpenLazyMemory,
  openLazyMemory,
} from './daemon/lazy.ts'
export { type ServeOptions, type Serving, serve } from './daemon/serve.ts'
export { type Failure, FaultlaneError } from './errors.ts'
export type { LazyMemory } from './fault/lazy-memory.ts'
export type { AgentEvent } from './lane/agent-event.ts'
export type { LossPolicy } from './lane/client-session.ts'
export { Neighbourhood } from './lane/neighbours.ts'
export type { SessionEnd, SessionReport, WaitFigures } from './lane/session-report.ts'
export type { LevelName } from './levels.ts'
export { NativeBuffer } from './native/buffer.ts'
export type { SchedulingName } from './prefault/schedulings.ts'
export { type AttachReport, attachReport, type ReportContext, type WaitsUs } from './report/attach-report.ts'
export type { LatencySnapshot } from './ring/latency-snapshot.ts'
export {
  type Channel,
  type ChannelOptions,
  COMPLETION,
  type CompletionSink,
  type ImageInfo,
  type Lane,
  type SocketFile,
  type Transport,
} from './transport/transport.ts'
export type { Affinity } from './workers/affinity.ts'
export type { WaitMode } from './workers/wait.ts'
