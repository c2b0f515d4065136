/** What a demand agent tells its process. Plain data: it crosses a thread. */
import type { SessionReport } from './session-report.ts'

export type AgentEvent =
  | { readonly kind: 'client'; readonly pid: number; readonly pages: number; readonly regions: number }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'ended'; readonly report: SessionReport }
  | { readonly kind: 'source-lost'; readonly reason: string }
  | { readonly kind: 'source-back' }
