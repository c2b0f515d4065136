import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import {
  machineBusyNs,
  machineStolenNs,
  ProcessTime,
  ResidentMemory,
  reportsFreeMemory,
} from '../../src/bench-kit/proc-file.ts'

function work(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

describe('ProcessTime', () => {
  it('counts what a process has worked, in steps of 10 ms', () => {
    const time = new ProcessTime('self')
    const before = time.ns()
    const cpu = process.cpuUsage()
    work(200)
    const { user, system } = process.cpuUsage(cpu)
    const worked = time.ns() - before
    time.close()
    expect(worked).toBeGreaterThan(0)
    expect(Math.abs(worked - (user + system) * 1000)).toBeLessThanOrEqual(30e6)
  })

  it('keeps the last figure of a process that has ended, and is no other file after it is closed', async () => {
    const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' })
    const time = new ProcessTime(child.pid as number)
    while (time.ns() === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    const last = time.ns()
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(time.ns()).toBeGreaterThanOrEqual(last)
    time.close()
    const other = new ResidentMemory() // May have got the same descriptor.
    expect(time.ns()).toBeGreaterThanOrEqual(last)
    expect(time.ns()).toBeLessThan(last + 10e9)
    other.close()
  })

  it('is 0 for a process that there never was', () => {
    expect(new ProcessTime(2 ** 30).ns()).toBe(0)
    expect(new ProcessTime(2 ** 30).faults()).toBe(0)
  })

  it('counts the faults of a process, and none for memory that is there', () => {
    const time = new ProcessTime('self')
    const pages = 16_384
    const buffer = new SharedArrayBuffer(pages * 4096)
    const view = new Uint8Array(buffer)
    const touch = () => {
      const before = time.faults()
      for (let page = 0; page < pages; page++) view[page * 4096] = 1
      return time.faults() - before
    }
    const first = touch()
    const again = touch()
    time.close()
    expect(first).toBeGreaterThan(again + 1) // Huge pages need few.
    expect(again).toBeLessThan(pages / 4)
  })
})

describe('ResidentMemory', () => {
  it('is what the kernel says at every look', () => {
    const memory = new ResidentMemory()
    const before = memory.bytes()
    const filled = Buffer.alloc(64 << 20, 1)
    expect(memory.bytes() - before).toBeGreaterThan(60 << 20)
    memory.close()
    expect(filled[0]).toBe(1)
  })
})

describe('reportsFreeMemory', () => {
  it('knows the interrupt of a balloon that reports, and no other', () => {
    const line = (name: string) =>
      ` 28:          0          0 PCI-MSIX-0000:00:01.0   0-edge      virtio0-config\n` +
      ` 32:       1312          0 PCI-MSIX-0000:00:01.0   4-edge      ${name}\n`
    expect(reportsFreeMemory(line('virtio0-reporting_vq'))).toBe(true)
    expect(reportsFreeMemory(line('virtio0-stats'))).toBe(false)
    expect(reportsFreeMemory(line('error-reporting'))).toBe(false)
  })
})

describe('the machine', () => {
  it('is busy with tasks, and stolen by its host, as the first line of /proc/stat says', () => {
    const stat =
      'cpu  35404 1125 26956 60052 67 11 1923 295 7 0\ncpu0 17771 112 10654 32880 7 0 1301 142 0 0\n'
    expect([machineBusyNs(stat), machineStolenNs(stat)]).toEqual([(35404 + 1125 + 26956) * 1e7, 295e7])
  })

  it('was not stolen where the kernel is older than that', () => {
    expect(machineStolenNs('cpu 1 2 3 4\n')).toBe(0)
    expect(machineStolenNs()).toBeGreaterThanOrEqual(0)
  })
})
