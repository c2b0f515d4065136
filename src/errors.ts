/** Every way the world can fail us. The code is the contract, the fields are the evidence. */
export type Failure =
  | { readonly code: 'BAD_ARGUMENT'; readonly what: string; readonly got: string; readonly expected: string }
  | {
      readonly code: 'SYSTEM'
      readonly call: string
      readonly errno: number
      readonly name: string
      readonly about: string
    }
  | { readonly code: 'IMAGE_UNREADABLE'; readonly path: string; readonly reason: string }
  | {
      readonly code: 'IMAGE_GEOMETRY'
      readonly path: string
      readonly bytes: number
      readonly pageSize: number
    }
  | { readonly code: 'ADDRESS_IN_USE'; readonly url: string; readonly hint: string }
  | { readonly code: 'CONNECT_FAILED'; readonly url: string; readonly reason: string }
  | { readonly code: 'PROTOCOL'; readonly peer: string; readonly got: string; readonly expected: string }
  | {
      readonly code: 'VERSION_MISMATCH'
      readonly peer: string
      readonly got: number
      readonly expected: number
    }
  | {
      readonly code: 'GEOMETRY_MISMATCH'
      readonly what: string
      readonly got: string
      readonly expected: string
    }
  | {
      readonly code: 'CHANNEL_CLOSED'
      readonly channel: string
      readonly reason: string
      readonly inFlight: number
    }
  | { readonly code: 'PAGE_LOST'; readonly page: number; readonly reason: string }
  | { readonly code: 'DEMAND_TIMEOUT'; readonly page: number; readonly waitedMs: number }
  | { readonly code: 'HANDSHAKE'; readonly reason: string; readonly expected: string }
  | { readonly code: 'NO_USERFAULTFD'; readonly reason: string; readonly remedies: readonly string[] }
  | { readonly code: 'NATIVE_UNAVAILABLE'; readonly what: string; readonly reason: string }
  | { readonly code: 'WORKER_DIED'; readonly role: string; readonly reason: string }
  | { readonly code: 'CHILD_FAILED'; readonly name: string; readonly reason: string }

/**
 * The one error class we throw. Structured clone drops an error's class, name and fields, so threads
 * exchange the plain `failure`, and the receiver throws `new FaultlaneError(failure)` again.
 */
export class FaultlaneError extends Error {
  override readonly name = 'FaultlaneError'
  readonly failure: Failure

  constructor(failure: Failure, options?: ErrorOptions) {
    super(explain(failure), options)
    this.failure = failure
  }

  get code(): Failure['code'] {
    return this.failure.code
  }
}

// No default case: a new code without its sentence does not compile.
function explain(f: Failure): string {
  switch (f.code) {
    case 'BAD_ARGUMENT':
      return `${f.what}: got ${f.got}, expected ${f.expected}`
    case 'SYSTEM':
      return `${f.call} failed with ${f.name} (errno ${f.errno}) on ${f.about}`
    case 'IMAGE_UNREADABLE':
      return `image ${f.path} cannot be read: ${f.reason}`
    case 'IMAGE_GEOMETRY':
      return `image ${f.path} holds ${f.bytes} bytes, which is not a positive multiple of the page size ${f.pageSize}`
    case 'ADDRESS_IN_USE':
      return `${f.url} is in use: ${f.hint}`
    case 'CONNECT_FAILED':
      return `cannot reach the source at ${f.url}: ${f.reason}`
    case 'PROTOCOL':
      return `${f.peer} does not speak our protocol: got ${f.got}, expected ${f.expected}`
    case 'VERSION_MISMATCH':
      return `${f.peer} speaks protocol version ${f.got}, this end speaks ${f.expected}`
    case 'GEOMETRY_MISMATCH':
      return `${f.what}: got ${f.got}, expected ${f.expected}`
    case 'CHANNEL_CLOSED':
      return `channel ${f.channel} closed with ${f.inFlight} reads in flight: ${f.reason}`
    case 'PAGE_LOST':
      return `page ${f.page} cannot be had: ${f.reason}`
    case 'DEMAND_TIMEOUT':
      return `page ${f.page} did not arrive within ${f.waitedMs} ms`
    case 'HANDSHAKE':
      return `handshake refused: ${f.reason}; expected ${f.expected}`
    case 'NO_USERFAULTFD':
      return `this kernel refuses userfaultfd (${f.reason}); any one of these helps: ${f.remedies.join('; ')}`
    case 'NATIVE_UNAVAILABLE':
      return `${f.what} is not available here: ${f.reason}`
    case 'WORKER_DIED':
      return `worker ${f.role} died: ${f.reason}`
    case 'CHILD_FAILED':
      return `${f.name} failed: ${f.reason}`
  }
}

/** Our own bug, not the world's failure: the worker that finds it dies loudly. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`)
}
