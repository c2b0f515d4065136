/**
 * How much of the machine somebody else uses while we measure: a figure taken beside other work says as much about
 * that work. Processor time of the whole machine, from the kernel, less that of the processes that we measure.
 */
import { readFileSync } from 'node:fs'

/** Of /proc/stat: USER_HZ is 100 on every Linux architecture. */
const NS_PER_TICK = 1e7

/** Nanoseconds that all processors have worked for tasks; interrupts are left out, they are mostly our own network. */
export function machineBusyNs(stat = readFileSync('/proc/stat', 'utf8')): number {
  const [, user = 0, nice = 0, system = 0] = (stat.split('\n')[0] ?? '').split(/\s+/).map(Number)
  return (user + nice + system) * NS_PER_TICK
}
