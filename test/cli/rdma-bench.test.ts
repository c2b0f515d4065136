/** The emulated NIC's tables from the built command line: the rows, and the refusals. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runPerftest } from '../../src/transport/rdma-sim/perftest.ts'
import { Bench } from './harness.ts'

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})
afterEach(() => bench.close())

async function run(...args: string[]) {
  const running = bench.faultlane('bench', 'rdma', ...args)
  return { code: await running.ended, stdout: running.stdout(), stderr: running.stderr() }
}
const FEW = ['--virtual', '--size', '2,4KiB', '--iterations', '24']

describe('bench rdma', () => {
  it('writes one row per size to standard output, the table beside it, the same bytes twice', async () => {
    const args = ['--nic', 'cx3-qdr40', ...FEW, '--depth', '2', '--seed', '7', '--json', '-']
    const [first, second] = await Promise.all([run(...args), run(...args)])
    expect(first.code).toBe(0)
    expect(first.stdout).toBe(second.stdout)
    expect(first.stderr).toBe(second.stderr)
    expect(first.stderr).toMatch(/t_typical\[us\]/)
    const rows = JSON.parse(first.stdout) as Record<string, unknown>[]
    expect(rows).toEqual(
      runPerftest({ nic: 'cx3-qdr40', sizes: [2, 4096], iterations: 24, depth: 2, seed: 7 }),
    )
    expect(Object.keys(rows[0] as object)).toEqual([
      'nic',
      'op',
      'size',
      'depth',
      't_typical_us',
      't_99_us',
      't_999_us',
      'mpps',
      'gbps',
    ])
  })

  it('shows the table and where its figures come from, with bulk beside it', async () => {
    const { code, stdout } = await run(...FEW, '--op', 'write', '--beside', '1', '--sl', 'shared')
    expect(code).toBe(0)
    expect(stdout).toMatch(/bulk Gb\/s/)
    expect(stdout).toMatch(/Where the figures come from/)
  })

  it.each([
    [['--nic', 'cx9'], /--nic.*'cx9'.*cx3-qdr40/s],
    [['--op', 'teleport'], /--op.*'teleport'.*fetch-add/s],
    [['--size', '4096,many'], /--size.*'4096,many'.*expected a size like/s],
    [['--size', '2GiB'], /--size.*'2GiB'.*at most 1GiB/s],
    [['--depth', '0'], /--depth.*'0'.*1 to 1024/s],
    [['--beside', '65'], /--beside.*'65'.*0 to 64/s],
    [['--sl', 'mixed'], /--sl.*'mixed'.*separated, shared, same-qp/s],
    [['--seed', '1.5'], /--seed.*'1\.5'.*whole number/s],
    [['--iterations', '1e9'], /--iterations.*'1e9'.*1 to 1000000/s],
  ])('refuses %s', async (args, said) => {
    const { code, stderr } = await run('--virtual', ...args)
    expect(code).toBe(2)
    expect(stderr).toMatch(said)
  })

  it('refuses to choose between virtual and real time by itself', async () => {
    const { code, stderr } = await run('--size', '2')
    expect(code).toBe(2)
    expect(stderr).toMatch(/one of --virtual and --real/)
  })

  it('reads in real time beside what virtual time says, and prints how late this host was', async () => {
    const args = ['--real', '--dilation', '20', '--size', '4KiB,16KiB', '--iterations', '50', '--json', '-']
    const { code, stdout, stderr } = await run(...args)
    expect(code).toBe(0)
    const rows = JSON.parse(stdout)
    expect(rows.map((row: { size: number }) => row.size)).toEqual([4096, 16_384])
    for (const row of rows) {
      // No READ ends before the model lets it, but for the time its handling takes. A host that is late makes both
      // longer, and then the peer's port is taken for longer too: from above the bench judges, not this test.
      expect(row.nic_us.p50 / row.modelled_us).toBeGreaterThan(0.99)
      expect(row.measured_by_modelled).toBeGreaterThan(0.95)
      expect(row.measured_us).toBeCloseTo(row.read_us.p50 / row.dilation, 2)
      expect(row.measured_by_modelled).toBeCloseTo(row.measured_us / row.modelled_us, 2)
    }
    expect(stderr).toMatch(/late p99\.9\[us\]/)
  })

  it.each([
    [['--real', '--op', 'write'], /--op write needs --virtual/],
    [['--real', '--size', '5000'], /--size 5000.*whole pages/],
    [['--virtual', '--dilation', '10'], /--dilation needs --real/],
  ])('refuses %s', async (args, said) => {
    const { code, stderr } = await run(...args)
    expect(code).toBe(2)
    expect(stderr).toMatch(said)
  })
})
