/**
 * The levels at which prefault is kept from delaying demand: each has a name and can be switched off by it
 * (`attach --without`, `serve --without`), so that `bench ablation` measures what it is worth. Plain data that says
 * what each does; the code that does it asks isOn() once, when it is built, and never per page.
 */
import { FaultlaneError } from './errors.ts'

export interface Level {
  /** The end or ends that it works at. */
  readonly at: readonly End[]
  readonly on: string
  readonly off: string
  /** Other transports have no such thing. */
  readonly isTcpOnly?: boolean
  readonly isShmOnly?: boolean
  /** Does something only where a process has several clients at the same time. */
  readonly isAmongSeveral?: boolean
}

/** attach: at the destination; serve: at the source. */
export type End = 'attach' | 'serve'

export const LEVELS = {
  class: {
    at: ['attach', 'serve'],
    on: 'short turns for the demand road, long turns for prefault, at niceness 2, and for all that is on neither lane',
    off: 'every thread in the default class',
  },
  affinity: {
    at: ['attach', 'serve'],
    on: 'with two processors, source and demand agent on the first, prefault on the second',
    off: 'left to the kernel',
  },
  yield: {
    at: ['attach', 'serve'],
    on: 'who spins gives way in every idle turn, the source after each demand reply, too',
    off: 'nobody gives way',
  },
  window: {
    at: ['attach'],
    on: 'prefault keeps in flight what the road holds',
    off: 'always 1 MiB',
  },
  'short-reads': {
    at: ['attach'],
    on: 'beside active demand a read is what the road carries in 45 µs',
    off: 'long, as beside none',
  },
  following: {
    at: ['attach'],
    on: 'a client that faults in prefault’s own order, over a fast road, leaves reads long and the window wide',
    off: 'its faults are demand as any other',
  },
  connection: {
    at: ['attach'],
    on: 'prefault has a thread and a connection of its own',
    off: 'both lanes in one thread on one connection',
  },
  priority: {
    at: ['attach', 'serve'],
    on: 'SO_PRIORITY 6 and DSCP EF for demand, 2 and CS1 for bulk',
    off: 'unmarked',
    isTcpOnly: true,
  },
  order: {
    at: ['serve'],
    on: 'demand is answered first',
    off: 'requests in the order of their arrival',
    isTcpOnly: true,
  },
  quantum: {
    at: ['serve'],
    on: '32 KiB of bulk between two looks at demand',
    off: 'all the bulk that the socket takes',
    isTcpOnly: true,
  },
  fair: {
    at: ['serve'],
    on: 'several destinations take turns: a quantum of bulk each, two replies to demand each',
    off: 'the first connection’s bulk first, 16 replies to demand',
    isTcpOnly: true,
  },
  batch: {
    at: ['attach'],
    on: 'prefault places a read in one UFFDIO_COPY',
    off: 'page by page',
  },
  awaited: {
    at: ['attach'],
    on: 'of what prefault has received, pages that somebody waits for are placed first, the rest in calls of 40 µs while demand is about',
    off: 'in their order, a reply in one call',
  },
  rests: {
    at: ['attach'],
    on: 'with fewer than four processors, on a fast road, beside faults that come one upon the other, prefault works for 15 µs and rests for four times as long',
    off: 'it works as long as replies come',
  },
  twin: {
    at: ['attach'],
    on: 'over shm, prefault places long runs from two threads',
    off: 'from one',
    isShmOnly: true,
  },
  neighbours: {
    at: ['attach'],
    on: 'of several clients of one process, prefault of one heeds the faults of all, and who answers a crowd takes longer turns',
    off: 'prefault heeds those of its own client only, and all take the same turns',
    isAmongSeveral: true,
  },
  promotion: {
    at: ['attach'],
    on: 'a fault on a page that prefault has in flight waits for that',
    off: 'it is asked for a second time on the demand lane, at once',
  },
} as const satisfies Record<string, Level>

export type LevelName = keyof typeof LEVELS
export const LEVEL_NAMES = Object.keys(LEVELS) as LevelName[]

function isOver(level: Level, scheme: string): boolean {
  return (!level.isTcpOnly || scheme === 'tcp') && (!level.isShmOnly || scheme === 'shm')
}

/** The levels that an end has, over a transport or over any. */
export const levelsAt = (end: End, scheme?: string): LevelName[] =>
  LEVEL_NAMES.filter(
    (name) =>
      (LEVELS[name].at as readonly End[]).includes(end) &&
      (scheme === undefined || isOver(LEVELS[name], scheme)),
  )

/** What `bench ablation` can measure: it goes over TCP, with one client. For the others there is `bench beside --without`. */
export const ABLATION_LEVEL_NAMES = LEVEL_NAMES.filter((name) => {
  const level: Level = LEVELS[name]
  return isOver(level, 'tcp') && !level.isAmongSeveral
})

/** @param without the levels that are switched off; none: all are on */
export const isOn = (level: LevelName, without: readonly LevelName[] | undefined): boolean =>
  without === undefined || !without.includes(level)

/** Throws BAD_ARGUMENT for a word that names no level of this end, or none that its transport has. */
export function requireLevels(words: readonly string[], end: End, scheme: string): LevelName[] {
  const known = levelsAt(end, scheme)
  for (const word of words) {
    if ((known as readonly string[]).includes(word)) continue
    throw new FaultlaneError({
      code: 'BAD_ARGUMENT',
      what: `level of ${end} --without`,
      got: word,
      expected: `some of ${known.join(', ')}${scheme === 'tcp' ? '' : ` (over ${scheme}:)`}${elsewhere(word, end)}`,
    })
  }
  return [...new Set(words)] as LevelName[]
}

function elsewhere(word: string, end: End): string {
  const other = end === 'attach' ? 'serve' : 'attach'
  const isThere = (levelsAt(other) as readonly string[]).includes(word)
  return isThere && !(levelsAt(end) as readonly string[]).includes(word)
    ? `; ${word} is a level of ${other}`
    : ''
}
