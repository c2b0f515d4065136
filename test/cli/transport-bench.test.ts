/** The transports side by side, from the built command line, at a size whose figures mean nothing. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Bench } from './harness.ts'

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

it('measures every transport, and tells the emulated NIC from the host', async () => {
  const run = bench.faultlane('bench', 'transport', '--smoke', '--dilation', '2', '--json', '-')
  expect(await run.ended).toBe(0)
  const rows = JSON.parse(run.stdout())
  expect(rows.map((row: { transport: string }) => row.transport)).toEqual(['tcp', 'shm', 'rdma-sim'])
  for (const { samples, read_us, pull_mb_per_s } of rows) {
    expect(samples).toBe(200)
    expect(read_us.p50).toBeGreaterThan(0)
    expect(read_us.p999).toBeGreaterThanOrEqual(read_us.p99)
    expect(pull_mb_per_s).toBeGreaterThan(0)
  }
  const [tcp, , rdma] = rows
  expect(tcp).toMatchObject({ emulated: null, nic_us: null, late_us: null })
  expect(rdma).toMatchObject({ emulated: 'cx3-qdr40', dilation: 2 })
  // The model's part is at least the model's, however late this machine is; early is nothing by more than the lead of its handling.
  expect(rdma.nic_us.p50).toBeGreaterThan(3.9)
  expect(rdma.late_us.p50).toBeGreaterThan(-2.1)
  expect(rdma.late_us.p99).toBeGreaterThanOrEqual(rdma.late_us.p50)
  expect(rdma.read_us.p50).toBeGreaterThan(2 * rdma.nic_us.p50 - 2)
  expect(run.stderr()).toMatch(/rdma-sim is emulated: cx3-qdr40, slowed down 2 times/)
}, 30_000)

it.each([
  [['--transports', 'tcp,pigeon'], /--transports.*'tcp,pigeon'.*tcp,shm,rdma-sim/s],
  [['--dilation', '0.5'], /--dilation.*'0\.5'.*1 to 1000/s],
  [['--nic', 'cx9'], /--nic.*'cx9'.*cx3-qdr40/s],
])('refuses %s', async (args, said) => {
  const run = bench.faultlane('bench', 'transport', ...args)
  expect(await run.ended).toBe(2)
  expect(run.stderr()).toMatch(said)
})

it('takes --nic of a source only where there is a NIC', async () => {
  const run = bench.faultlane('serve', '--synthetic', '1MiB', '--nic', 'hdr200')
  expect(await run.ended).toBe(2)
  expect(run.stderr()).toMatch(/--nic hdr200 needs --listen rdma-sim:PATH, not tcp:/)
})
