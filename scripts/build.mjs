// Compiles src/ into dist/ and bench/ (with what it takes from src/) into dist-bench/, and makes the command
// executable; then bundles what a user starts. Skips the work when the last build is newer than every source.
import { execFileSync } from 'node:child_process'
import { chmodSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stamp = join(root, 'dist', '.built')
const inputs = ['src', 'bench', 'scripts']
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .concat(
    ['src', 'bench', 'scripts', 'tsconfig.json', 'tsconfig.bench.json', 'package-lock.json'].map((name) =>
      join(root, name),
    ),
  )
const builtAt = statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0
if (inputs.every((file) => (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) < builtAt))
  process.exit(0)

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
const startedAt = Date.now()
for (const folder of ['dist', 'dist-bench']) rmSync(join(root, folder), { recursive: true, force: true })
try {
  execFileSync(process.execPath, [tsc, '-p', root], { stdio: 'inherit' })
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.bench.json')], { stdio: 'inherit' })
} catch {
  process.exit(1) // tsc has said why.
}
await bundle(root)
chmodSync(join(root, 'dist', 'cli', 'main.js'), 0o755)
writeFileSync(stamp, `${startedAt}\n`)
