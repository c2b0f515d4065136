// @ts-check
/**
 * A small foreign daemon: hands out the memory of a frozen virtual machine over HTTP while that memory is still
 * somewhere else, e.g. to a debugger that looks at a crashed guest.
 *
 *     node daemon.mjs backend.json [PORT]
 *     curl -H 'Range: bytes=4096-8191' http://127.0.0.1:PORT/memory
 *
 * GET /memory answers byte ranges; a page that has not come yet is fetched on use, and meanwhile the event loop
 * goes on (the asynchronous page fault). GET /status tells what has come. SIGTERM ends it in order.
 */
import { createServer } from 'node:http'
import { FaultlaneError } from 'faultlane'
import { openBackend } from './backend.js'

const RANGE_BYTES_MAX = 1 << 20
const [configuration = 'backend.json', port = '0'] = process.argv.slice(2)

const backend = await openBackend(configuration).catch((error) => {
  console.error(`cannot open ${configuration}: ${error.message}`)
  process.exit(1)
})
const { memory, imageId } = backend

const server = createServer((request, response) => {
  answer(request).then(
    ({ status, headers, body }) => response.writeHead(status, headers).end(body),
    (error) => response.writeHead(error instanceof FaultlaneError ? 503 : 500).end(`${error.message}\n`),
  )
})

/** @param {import('node:http').IncomingMessage} request */
async function answer({ url, headers: { range = '' } }) {
  if (url === '/status') {
    const status = { imageId, bytes: memory.bytes, pageSize: memory.pageSize, ...backend.progress() }
    return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(status) }
  }
  if (url !== '/memory') return { status: 404, headers: {}, body: '' }
  const match = /^bytes=(\d+)-(\d+)$/.exec(range)
  const first = Number(match?.[1] ?? Number.NaN)
  const length = Number(match?.[2] ?? Number.NaN) - first + 1
  if (!(length > 0 && length <= RANGE_BYTES_MAX && first + length <= memory.bytes)) {
    return { status: 416, headers: { 'content-range': `bytes */${memory.bytes}` }, body: '' }
  }
  const body = await memory.read(first, length)
  const headers = {
    'content-type': 'application/octet-stream',
    'content-range': `bytes ${first}-${first + length - 1}/${memory.bytes}`,
  }
  return { status: 206, headers, body }
}

server.listen(Number(port), '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`ready http://127.0.0.1:${address.port}`)
})
process.once('SIGTERM', () => {
  server.close()
  server.closeAllConnections()
  backend.close()
})
