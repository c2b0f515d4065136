import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Bench } from './harness.ts'

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

it('attach told to stop ends at once while the source has not said what it has, and leaves nothing', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const asked = once(silent, 'connection')
  const url = `tcp://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const attach = bench.faultlane('attach', '--socket', bench.path('vm.sock'), '--source', url)
  const [socket] = await asked
  attach.child.kill('SIGTERM')
  // Had it waited for the source, it would have ended with 1 and said that no welcome came in time.
  expect(await attach.ended).toBe('SIGTERM')
  expect(attach.stderr()).toBe('')
  expect(existsSync(bench.path('vm.sock'))).toBe(false)
  socket.destroy()
  silent.close()
})
