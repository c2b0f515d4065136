/**
 * A link of the kernel's own, for root: two network namespaces, a veth pair between them, `tbf` shaping both ends.
 * Everything is named after the process that made it, so that what a killed run has left is recognised and removed.
 * Addresses exist inside the namespaces only. Owned by the bench; remove() must be called whatever happens.
 *
 * One FIFO per direction (tbf's own bfifo), without bands: the hard case, as in a switch downstream, where what a
 * host asks of its own queues (SO_PRIORITY) is worth nothing. With bands each end has a `pfifo_fast` below its `tbf`,
 * the default of a network card, which sends by a packet's priority.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { FaultlaneError } from '../errors.ts'
import { libc } from '../native/libc.ts'

const PREFIX = 'faultlane'
const SOURCE_IP = '10.73.19.1'
const DESTINATION_IP = '10.73.19.2'
/** What a network card takes as one segmentation offload, the most it sends without a pause. */
const BURST = '64kb'
/** 1000 full frames: the default transmit queue of a Linux network card. */
const LIMIT = '1514000'

export interface NamespaceLink {
  readonly about: string
  readonly sourceIp: string
  /** Put before a command, they run it at that end. */
  readonly atSource: readonly string[]
  readonly atDestination: readonly string[]
  remove(): void
}

/** Why there can be no such link here; undefined: there can. */
export function whyNoNamespaces(): string | undefined {
  if (libc().geteuid() !== 0) return 'network namespaces need root'
  try {
    execFileSync('ip', ['netns', 'list'], { stdio: 'pipe' })
    execFileSync('tc', ['-V'], { stdio: 'pipe' })
  } catch (error) {
    return `ip and tc (iproute2) are needed: ${(error as Error).message.split('\n')[0]}`
  }
  return undefined
}

/** @param rate as tc writes it, e.g. 1gbit; @param pid of the process that the link belongs to */
export function makeNamespaceLink(rate: string, pid: number, hasBands = false): NamespaceLink {
  removeStaleLinks()
  const names = { source: `${PREFIX}-${pid}-source`, destination: `${PREFIX}-${pid}-destination` }
  const remove = () => {
    removeNamespace(names.source)
    removeNamespace(names.destination)
  }
  try {
    ip('netns', 'add', names.source)
    ip('netns', 'add', names.destination)
    ip(
      'link',
      'add',
      'src',
      'netns',
      names.source,
      'type',
      'veth',
      'peer',
      'name',
      'dst',
      'netns',
      names.destination,
    )
    for (const [name, device, address] of [
      [names.source, 'src', SOURCE_IP],
      [names.destination, 'dst', DESTINATION_IP],
    ] as const) {
      ip('-n', name, 'addr', 'add', `${address}/30`, 'dev', device)
      ip('-n', name, 'link', 'set', 'lo', 'up')
      ip('-n', name, 'link', 'set', device, 'up')
      run('tc', [
        '-n',
        name,
        'qdisc',
        'add',
        'dev',
        device,
        'root',
        'handle',
        '1:',
        'tbf',
        'rate',
        rate,
        'burst',
        BURST,
        'limit',
        LIMIT,
      ])
      if (hasBands) run('tc', ['-n', name, 'qdisc', 'add', 'dev', device, 'parent', '1:1', 'pfifo_fast'])
    }
  } catch (error) {
    remove()
    throw error
  }
  return {
    about: `two network namespaces, veth, tbf rate ${rate} burst ${BURST} limit ${LIMIT} B at both ends${hasBands ? ', with the three bands of pfifo_fast' : ''}`,
    sourceIp: SOURCE_IP,
    atSource: ['ip', 'netns', 'exec', names.source],
    atDestination: ['ip', 'netns', 'exec', names.destination],
    remove,
  }
}

/** Removes the links of runs that are no more, with what still runs inside; their names. */
export function removeStaleLinks(): string[] {
  const removed: string[] = []
  for (const line of run('ip', ['netns', 'list']).split('\n')) {
    const match = /^(faultlane-(\d+)-(?:source|destination))\b/.exec(line)
    if (!match || existsSync(`/proc/${match[2]}`)) continue
    removeNamespace(match[1] as string)
    removed.push(match[1] as string)
  }
  return removed
}

/** Only what we have put into a namespace of ours is ended. */
function removeNamespace(name: string): void {
  try {
    for (const pid of run('ip', ['netns', 'pids', name]).split('\n')) {
      if (pid.trim() !== '') libc().kill(Number(pid), 9)
    }
    ip('netns', 'del', name)
  } catch {
    // It was not there, or is gone already.
  }
}

function ip(...args: string[]): void {
  run('ip', args)
}

function run(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { stdio: 'pipe', encoding: 'utf8' })
  } catch (cause) {
    const said = String((cause as { stderr?: string }).stderr ?? '').trim()
    throw new FaultlaneError(
      {
        code: 'NATIVE_UNAVAILABLE',
        what: `${command} ${args.join(' ')}`,
        reason: said || (cause as Error).message,
      },
      { cause },
    )
  }
}
