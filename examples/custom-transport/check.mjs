// @ts-check
// Holds the file transport to Faultlane's contract: node check.mjs [SEED]. Exit code 1 when a case fails.
import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformanceCases } from 'faultlane/conformance'
import transport from './file-transport.js'

/** @type {import('faultlane/conformance').ConformanceHarness} */
const harness = {
  hasPeer: false, // A file does not live: nothing can be lost but the disk, and that is an ERROR per page.
  canFailToRead: true,
  start(image) {
    const folder = mkdtempSync(join(tmpdir(), 'file-transport-'))
    const path = join(folder, 'image')
    image.writeTo(path)
    return {
      describe: (options) => transport.describe(`file:${path}`, options),
      open(lane, options) {
        // Opened at full length, then cut short: from then on the tail cannot be read.
        if (image.readableBytes < image.bytes) truncateSync(path, image.bytes)
        const channel = transport.open(`file:${path}`, lane, options)
        image.cut(path)
        return channel
      },
      stop: () => rmSync(folder, { recursive: true }),
    }
  },
}

const seed = process.argv[2] === undefined ? {} : { seed: Number(process.argv[2]) }
let failed = 0
for (const { name, run } of conformanceCases(harness, seed)) {
  try {
    await run()
    console.log(`ok    ${name}`)
  } catch (error) {
    failed++
    console.log(`FAIL  ${name}\n      ${/** @type {Error} */ (error).message}`)
  }
}
process.exitCode = failed === 0 ? 0 : 1
