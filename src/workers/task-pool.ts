/**
 * Piscina for what comes as tasks: filling and scanning images, hashing, reports. Never for an agent: an agent
 * keeps its thread for life.
 */
import { Piscina } from 'piscina'

export function openTaskPool(threads: number): Piscina {
  const isSource = import.meta.url.endsWith('.ts')
  const filename = new URL(isSource ? '../../dist/workers/tasks.js' : '../workers/tasks.js', import.meta.url)
    .href
  return new Piscina({ filename, minThreads: threads, maxThreads: threads, idleTimeout: 0 })
}
