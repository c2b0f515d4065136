// @ts-check
/**
 * Runs the daemon over one backend after the other, the word `backend` of its configuration the only difference, and
 * compares every byte that it hands out with the snapshot: node check.mjs. Exit code 1 when anything is wrong.
 */
import { spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { serve } from 'faultlane'

const IMAGE_BYTES = 8 << 20
const DATA_BYTES = 6 << 20 // The rest is a hole: zeros that never cross the wire.
const RANGE_BYTES = 64 << 10
const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url))

const folder = mkdtempSync(join(tmpdir(), 'daemon-backend-'))
const image = join(folder, 'snapshot.mem')
writeImage(image)
const content = readFileSync(image)

const tcp = await serve({ image, listen: 'tcp://127.0.0.1:0' })
const shm = await serve({ image, listen: `shm:${join(folder, 'snapshot.shm')}` })
const rdma = await serve({ image, listen: `rdma-sim:${join(folder, 'snapshot.rdma')}` }) // An emulated NIC.
const backends = {
  tcp: { source: tcp.url },
  shm: { source: shm.url },
  rdma: { source: rdma.url },
  file: { source: `file:${image}`, transport: here('../custom-transport/file-transport.js') },
}
let failed = 0
try {
  // On demand alone every page is seen to come by its own fault; the last one is no entry but a URL.
  for (const name of Object.keys(backends)) await check(name, name, 'off')
  await check('a URL', tcp.url, 'sequential')
} finally {
  await tcp.close()
  await shm.close()
  await rdma.close()
  rmSync(folder, { recursive: true })
}
process.exitCode = failed === 0 ? 0 : 1

/** @param {string} name @param {string} backend @param {string} prefault */
async function check(name, backend, prefault) {
  const configuration = join(folder, 'backend.json')
  writeFileSync(configuration, JSON.stringify({ backend, prefault, backends }))
  const { wrongPages, status } = await runDaemon(configuration)
  const { demanded, prefaulted, bytesReceived, remaining } = status
  const isRight = wrongPages === 0 && bytesReceived === DATA_BYTES && remaining === 0
  if (!isRight) failed++
  console.log(
    `${isRight ? 'ok   ' : 'WRONG'} ${name.padEnd(5)} prefault ${prefault}: ${IMAGE_BYTES / 4096} pages read, ${wrongPages} wrong; ` +
      `${demanded} on demand, ${prefaulted} prefaulted, ${bytesReceived} bytes received`,
  )
}

/** Starts the daemon, reads all of its memory by eight readers, back to front, and stops it. @param {string} configuration */
async function runDaemon(configuration) {
  const daemon = spawn(process.execPath, [here('daemon.mjs'), configuration], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(daemon, 'exit')
  try {
    const ready = await Promise.race([once(createInterface({ input: daemon.stdout }), 'line'), exited])
    const url = /^ready (\S+)/.exec(String(ready[0]))?.[1]
    if (!url) throw new Error(`the daemon ended with ${ready[0]} before it was ready`)
    let next = IMAGE_BYTES
    let wrongPages = 0
    const readers = Array.from({ length: 8 }, async () => {
      while (next > 0) {
        next -= RANGE_BYTES
        const first = next
        const headers = { range: `bytes=${first}-${first + RANGE_BYTES - 1}` }
        const response = await fetch(`${url}/memory`, { headers })
        const bytes = Buffer.from(await response.arrayBuffer())
        for (let at = 0; at < RANGE_BYTES; at += 4096) {
          const page = content.subarray(first + at, first + at + 4096)
          if (!bytes.subarray(at, at + 4096).equals(page)) wrongPages++
        }
      }
    })
    await Promise.all(readers)
    // What is counted follows what can be read by a moment.
    for (const endMs = performance.now() + 5000; ; ) {
      /** @type {import('faultlane').LazyProgress} */
      const status = JSON.parse(await (await fetch(`${url}/status`)).text())
      const isWhole = status.remaining === 0 && status.bytesReceived >= DATA_BYTES
      if (isWhole || performance.now() > endMs) return { wrongPages, status }
    }
  } finally {
    daemon.kill('SIGTERM')
    await exited
  }
}

/** Data that no page shares with another, then a hole. @param {string} path */
function writeImage(path) {
  const fd = openSync(path, 'w')
  writeSync(fd, randomFillSync(Buffer.alloc(DATA_BYTES)))
  ftruncateSync(fd, IMAGE_BYTES)
  closeSync(fd)
}
