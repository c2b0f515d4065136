/** A ring between two processes: the same classes over memory that both have mapped from a file. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, it } from 'vitest'
import { formatMpscRing, mpscRingWords } from '../../src/ring/mpsc-ring.ts'
import { formatSpscRing, spscRingWords } from '../../src/ring/spsc-ring.ts'

const folder = mkdtempSync(join(tmpdir(), 'faultlane-ring-'))
afterAll(() => rmSync(folder, { recursive: true }))

const program = fileURLToPath(new URL('./fixtures/ring-process.mjs', import.meta.url))
const run = promisify(execFile)

it.runIf(process.platform === 'linux').each(['spsc', 'mpsc'] as const)(
  'an %s ring over a mapped file carries records between processes',
  async (kind) => {
    const [capacity, count] = [256, 300_000]
    const [ringWords, format] =
      kind === 'spsc' ? [spscRingWords, formatSpscRing] : [mpscRingWords, formatMpscRing]
    const words = new Int32Array(32 + ringWords(capacity, 2))
    format({ words, offset: 32, capacity, recordWords: 2 }, 2 ** 31 - 100_000)
    const path = join(folder, kind)
    writeFileSync(path, words)

    const answers = await Promise.all(
      ['receive', 'send'].map(async (role) => {
        const { stdout } = await run(
          process.execPath,
          [program, path, kind, role, `${capacity}`, `${count}`],
          { timeout: 25_000 },
        )
        return JSON.parse(stdout)
      }),
    )
    expect(answers).toEqual([
      { moved: count, wrong: 0 },
      { moved: count, wrong: 0 },
    ])
  },
)
