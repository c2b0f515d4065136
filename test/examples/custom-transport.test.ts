/** A third party's transport keeps the contract, by public exports alone, in under 200 lines. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const folder = fileURLToPath(new URL('../../examples/custom-transport/', import.meta.url))

it('check.mjs finds nothing wrong with the file transport', () => {
  const output = execFileSync(process.execPath, [`${folder}check.mjs`, '7'], { encoding: 'utf8' })
  expect(output.match(/^ok {4}/gm)?.length).toBeGreaterThan(12)
  expect(output).toContain('100000 random operations agree with the model (seed 7)')
})

it('imports nothing of ours but the documented exports', () => {
  const text = readFileSync(`${folder}file-transport.js`, 'utf8')
  expect(text.split('\n').length).toBeLessThan(200)
  const imports = [...text.matchAll(/from '([^']+)'/g)].map((match) => match[1])
  expect(new Set(imports.filter((name) => !name?.startsWith('node:')))).toEqual(new Set(['faultlane']))
})
