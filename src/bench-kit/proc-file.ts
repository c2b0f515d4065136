/**
 * What the kernel says of a process, read again and again: opened once and read into one buffer, some 10 µs a look. Where
 * every look opens what it reads, thread by thread, a look takes 0.5 to 2 ms, and on two processors that is the tail of what is measured.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const PAGE_BYTES = 4096
/** Of /proc: USER_HZ is 100 on every Linux architecture. */
const NS_PER_TICK = 1e7
/** In /proc/PID/stat behind the name in brackets, which may hold anything: minflt, majflt, utime and stime. */
const MINFLT = 7
const MAJFLT = 9
const UTIME = 11
const STIME = 12

/** A file of /proc that is read many times. */
class ProcFile {
  readonly #fd: number
  readonly #text = Buffer.alloc(1024)

  constructor(path: string) {
    this.#fd = openSync(path, 'r')
  }

  read(): string {
    return this.#text.toString('latin1', 0, readSync(this.#fd, this.#text, 0, this.#text.length, 0))
  }

  close(): void {
    closeSync(this.#fd)
  }
}

/** Processor time of a process, and its faults. */
export class ProcessTime {
  #file: ProcFile | undefined
  #ns = 0
  #faults = 0

  constructor(pid: number | 'self') {
    try {
      this.#file = new ProcFile(`/proc/${pid}/stat`)
    } catch {
      // It has ended.
    }
  }

  /** Nanoseconds in steps of 10 ms, of all threads that there have been; once the process has ended, as at the last look. */
  ns(): number {
    this.#look()
    return this.#ns
  }

  /**
   * Faults of all its threads, minor and major: a touch of missing memory under userfaultfd is one or the other, by which lock the
   * kernel tried first (mm/memory.c, mm_account_fault), a touch of a page that has been placed none. Once the process has ended, as at the last look.
   */
  faults(): number {
    this.#look()
    return this.#faults
  }

  #look(): void {
    try {
      const stat = this.#file?.read() ?? ''
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      this.#ns = (Number(fields[UTIME]) + Number(fields[STIME])) * NS_PER_TICK || this.#ns
      this.#faults = Number(fields[MINFLT]) + Number(fields[MAJFLT]) || this.#faults
    } catch {
      // It has ended; what it used is known.
    }
  }

  close(): void {
    this.#file?.close()
    this.#file = undefined
  }
}

/** Bytes of memory that this process has: what has been placed in a client's memory shows here at once. */
export class ResidentMemory {
  readonly #file = new ProcFile('/proc/self/statm')

  bytes(): number {
    return Number(this.#file.read().split(' ')[1]) * PAGE_BYTES
  }

  close(): void {
    this.#file.close()
  }
}

/** Nanoseconds that all processors have worked for tasks; interrupts are left out, they are mostly our own network. */
export function machineBusyNs(stat = readFileSync('/proc/stat', 'utf8')): number {
  const [, user = 0, nice = 0, system = 0] = fieldsOfAllProcessors(stat)
  return (user + nice + system) * NS_PER_TICK
}

/** Nanoseconds that the host of a virtual machine has kept processors from it which it wanted (steal): it stood still. 0 where there is no host. */
export function machineStolenNs(stat = readFileSync('/proc/stat', 'utf8')): number {
  return (fieldsOfAllProcessors(stat)[STEAL] ?? 0) * NS_PER_TICK
}

/** The first line of /proc/stat: a name, user, nice, system, idle, iowait, irq, softirq, steal and guests. */
const STEAL = 8

function fieldsOfAllProcessors(stat: string): number[] {
  return (stat.split('\n')[0] ?? '').split(/\s+/).map(Number)
}

/** The interrupt by which a virtual machine's balloon tells that the host has taken back what was reported free. */
const REPORTING = /:.*\bvirtio\d+-reporting/

/** Whether this is a virtual machine that tells its host which memory is free, and loses it to the host. */
export function reportsFreeMemory(interrupts = readIfThere('/proc/interrupts')): boolean {
  return REPORTING.test(interrupts)
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
