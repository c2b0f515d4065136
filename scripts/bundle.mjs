// What a user starts is bundled: a thread that loads one file for each of our modules spends more on finding them than on
// everything else until it is ready (attach: 520 ms, 420 bundled; node 20, 2 × Xeon). Our own modules only, each of them once:
// whoever imports the package, a third party's transport too, gets the same errors that the workers throw.
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { rolldown } from 'rolldown'

/** Rooms that nearly every entry has something of: one file, so that none of them is looked for twice. */
const CORE =
  /^((native|memory|ring|prefault|fault|lane|transport|workers)\/|(errors|clock|config|levels)\.ts$)/
/** What only some have: entries themselves, other transports, what rehearses one agent, what brings piscina along. */
const NOT_CORE =
  /\.worker\.ts$|^workers\/(tasks\.ts|task-pool\.ts|warm-up-)|^transport\/(shm|shared-image|rdma-sim|conformance)/

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
  const isCore = (id) => {
    const file = relative(src, id) // Wherever the project lies.
    return CORE.test(file) && !NOT_CORE.test(file)
  }
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
      groups: [{ name: 'core', test: isCore, minShareCount: 2 }],
    },
  })
  await build.close()
}
