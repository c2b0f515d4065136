// What a user starts is bundled: a thread that loads one file for each of our modules spends more on finding them than on
// everything else until it is ready (attach: 520 ms, 420 bundled; node 20, 2 × Xeon). Our own modules only, each of them once:
// whoever imports the package, a third party's transport too, gets the same errors that the workers throw.
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { rolldown } from 'rolldown'

/** Rooms that nearly every entry has something of: one file, so that none of them is looked for twice. */
const CORE =
  /^((native|memory|ring|prefault|fault|lane|transport|workers)\/|(errors|clock|config|levels)\.ts$)/
/** What a program begins with, before it loads anything else. */
const START = /^(native\/threads|workers\/thread)\.ts$/
/** What only some have: entries themselves, other transports, what rehearses one agent, what starts workers, what brings piscina along. */
const NOT_CORE =
  /\.worker\.ts$|^workers\/(tasks\.ts|task-pool\.ts|spawn\.ts|warm-up-)|^transport\/(shm|shared-image|rdma-sim|conformance)/

/** Overwrites the entries among what was compiled to dist/. */
export async function bundle(root) {
  const src = join(root, 'src')
  const workers = readdirSync(join(src, 'workers')).filter((file) => file.endsWith('.worker.ts'))
  const entries = [
    'index.ts',
    'transport/conformance.ts',
    'cli/main.ts',
    'workers/tasks.ts',
    ...workers.map((file) => `workers/${file}`),
  ]
  const fileOf = (id) => relative(src, id) // Wherever the project lies.
  const isStart = (id) => START.test(fileOf(id))
  const isCore = (id) => CORE.test(fileOf(id)) && !NOT_CORE.test(fileOf(id)) && !isStart(id)
  const build = await rolldown({
    cwd: root,
    input: Object.fromEntries(entries.map((file) => [file.slice(0, -'.ts'.length), join(src, file)])),
    platform: 'node',
    external: (id) => !/^[./]/.test(id),
  })
  await build.write({
    dir: join(root, 'dist'),
    format: 'esm',
    sourcemap: true,
    minifyInternalExports: false,
    entryFileNames: '[name].js',
    // A folder below dist/, as every room is: paths relative to a module's own are right there too.
    chunkFileNames: 'chunks/[name].js',
    codeSplitting: {
      groups: [
        { name: 'start', test: isStart },
        { name: 'core', test: isCore, minShareCount: 2 },
      ],
    },
  })
  await build.close()
}
