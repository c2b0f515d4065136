/** Main thread and the engine's helpers of a daemon give way to whoever wakes: their turns are long. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, it } from 'vitest'
import { HELPER_SLICE_NS } from '../../src/config.ts'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const sliceNs = (file: string) => Number(/se\.slice\D+(\d+)/.exec(readFileSync(file, 'latin1'))?.[1])
/** Kernels before 6.12 have no turns of a length, and some do not say. */
const isTold = !Number.isNaN(sliceNs('/proc/self/sched'))

let source: ChildProcess
afterEach(async () => {
  source.kill('SIGKILL')
  await once(source, 'exit')
})

it.runIf(isTold).each([
  [[], HELPER_SLICE_NS],
  [['--without', 'class'], sliceNs('/proc/self/sched')],
])('of a source that is ready (%j)', async (flags, expected) => {
  const args = ['serve', '--synthetic', '1MiB', '--listen', 'tcp://127.0.0.1:0', ...flags]
  source = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'inherit', 'pipe'] })
  await once(source.stderr!, 'data') // ready
  const tasks = `/proc/${source.pid}/task`
  // The main thread and the engine's helpers come first.
  const first = readdirSync(tasks)
    .map(Number)
    .sort((a, b) => a - b)
    .slice(0, 5)
  const slices = first.map((task) => sliceNs(`${tasks}/${task}/sched`))
  expect(new Set(slices)).toEqual(new Set([expected]))
})
