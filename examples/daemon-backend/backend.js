// @ts-check
/**
 * The only part of the daemon that knows Faultlane: a configuration in, memory out. Which network lies between is
 * one word of the configuration: the name of an entry of `backends`, or any URL that Faultlane has a transport for.
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { openLazyMemory } from 'faultlane'

/**
 * @typedef {object} Entry
 * @property {string} source URL of the page source
 * @property {string} [transport] a transport module of one's own, relative to the configuration file
 *
 * @typedef {object} Configuration
 * @property {string} backend name of an entry, or a URL
 * @property {'off' | 'sequential'} [prefault]
 * @property {Record<string, Entry>} [backends]
 */

/** @param {string} path of the configuration file */
export async function openBackend(path) {
  /** @type {Configuration} */
  const { backend, backends = {}, prefault = 'sequential' } = JSON.parse(readFileSync(path, 'utf8'))
  const entry = Object.hasOwn(backends, backend) ? backends[backend] : undefined
  if (!entry && !/^[a-z][a-z0-9+.-]*:/.test(backend)) {
    throw new Error(`backend: got ${backend}, expected a URL or one of ${Object.keys(backends).join(', ')}`)
  }
  const { source, transport } = entry ?? { source: backend, transport: undefined }
  return openLazyMemory({
    source,
    prefault,
    ...(transport === undefined ? {} : { transport: new URL(transport, pathToFileURL(path)).href }),
    onEvent: (event) => {
      if (event.kind === 'source-lost') console.error(`source lost: ${event.reason}; readers wait for it`)
      if (event.kind === 'source-back') console.error('source is back')
    },
    onFailed: (error) => console.error(`backend failed: ${error.message}`),
  })
}
