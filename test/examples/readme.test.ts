/** Holds the README to the program: its example runs, its two commands are there, and every flag is explained. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))
const readme = readFileSync(`${root}README.md`, 'utf8')
const node = (...args: string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' })

it('has an example that runs', () => {
  const code = /^```js\n([\s\S]*?)^```$/m.exec(readme)?.[1] ?? ''
  expect(code).toContain("from 'faultlane'")
  const file = `${root}dist/readme-example.mjs` // Inside the package, so that it finds itself by name.
  writeFileSync(file, code)
  expect(node(file)).toMatch(/^4096 8 \d+ \{/)
}, 30_000)

it('has the two commands as lines of their own', () => {
  const lines = readme.split('\n')
  expect(lines).toContain('npm ci && npm start')
  expect(lines).toContain('npm ci && npm test')
})

it.each(['serve', 'attach'])('explains every flag of %s', (command) => {
  const help = node('dist/cli/main.js', command, '--help')
  const flags = [...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag as string)
  expect(flags.length).toBeGreaterThan(3)
  const table = readme.slice(readme.indexOf('## Serve and attach'), readme.indexOf('## As a library'))
  expect(flags.filter((flag) => !table.includes(`| \`${flag}`))).toEqual([])
})
