/** A harness for the conformance suite whose source is another process, running the built files. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ConformanceHarness } from '../../src/transport/conformance.ts'
import type { Transport } from '../../src/transport/transport.ts'

const program = fileURLToPath(new URL('source-process.mjs', import.meta.url))

/** @param room folder of src/transport @param urlIn what the source listens on, given a folder of its own */
export function processHarness(
  room: string,
  transport: Transport,
  urlIn: (folder: string) => string,
  link?: string,
): ConformanceHarness {
  return {
    hasPeer: true,
    canFailToRead: true,
    async start(image) {
      const folder = mkdtempSync(join(tmpdir(), `faultlane-${room}-`))
      const file = join(folder, 'image')
      image.writeTo(file)
      const args = [
        program,
        room,
        urlIn(folder),
        file,
        String(image.readableBytes),
        ...(link === undefined ? [] : [link]),
      ]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const exit = once(child, 'exit')
      const [line] = (await Promise.race([once(child.stdout, 'data'), exit])) as [unknown]
      const url = /^ready (\S+)$/m.exec(String(line))?.[1]
      if (!url) throw new Error(`the ${room} source did not start: ${String(line)}`)
      return {
        open: (lane, options) => transport.open(url, lane, options),
        describe: (options) => transport.describe(url, options),
        async kill() {
          child.kill('SIGKILL')
          await exit
        },
        async stop() {
          child.kill('SIGTERM')
          await exit
          rmSync(folder, { recursive: true })
        },
      }
    },
  }
}
