/** A foreign daemon embeds Faultlane by public exports alone and switches its backend by one word of a file. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const folder = fileURLToPath(new URL('../../examples/daemon-backend/', import.meta.url))

it('check.mjs finds every byte right over every backend', () => {
  const output = execFileSync(process.execPath, [`${folder}check.mjs`], { encoding: 'utf8' })
  const lines = output.trim().split('\n')
  expect(lines.map((line) => line.slice(0, 11))).toEqual([
    'ok    tcp  ',
    'ok    shm  ',
    'ok    rdma ',
    'ok    file ',
    'ok    a URL',
  ])
  for (const line of lines) expect(line).toContain('2048 pages read, 0 wrong')
}, 60_000)

it('says what is wrong with a configuration instead of throwing a stack', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'faultlane-daemon-'))
  try {
    const configuration = join(scratch, 'backend.json')
    const refusal = (text: string) => {
      writeFileSync(configuration, text)
      const run = spawnSync(process.execPath, [`${folder}daemon.mjs`, configuration], { encoding: 'utf8' })
      expect(run.status).toBe(1)
      expect(run.stderr).not.toMatch(/^\s+at /m)
      return run.stderr
    }
    expect(refusal('{"backend": "pigeon", "backends": {"tcp": {}}}')).toContain('got pigeon')
    expect(refusal('{"backend": "pigeon://loft"}')).toContain('a scheme out of tcp')
    expect(refusal('{"backend": "tcp://127.0.0.1:1"}')).toContain(
      'cannot reach the source at tcp://127.0.0.1:1',
    )
  } finally {
    rmSync(scratch, { recursive: true })
  }
}, 60_000)

it('imports nothing of ours but the documented exports', () => {
  for (const file of readdirSync(folder).filter((name) => /\.m?js$/.test(name))) {
    const imports = [...readFileSync(`${folder}${file}`, 'utf8').matchAll(/from '([^']+)'/g)]
    const ours = imports.map(([, name]) => name as string).filter((name) => !name.startsWith('node:'))
    expect(ours.filter((name) => name !== 'faultlane' && name !== './backend.js')).toEqual([])
  }
})
