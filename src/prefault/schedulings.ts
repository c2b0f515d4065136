/**
 * Who gets the wire when. S2 is Faultlane; the others are what the field does, kept to be measured against in the
 * same run.
 */
import { PREFAULT_READ_PAGES_MAX, QUIET_READ_PAGES_MAX } from '../config.ts'
import { isOn, type LevelName } from '../levels.ts'
import { AdaptiveWindow } from './adaptive-window.ts'
import { FixedWindow, GatedWindow, GrowingWindow, HeedlessWindow, type Window } from './window.ts'

export interface Scheduling {
  /** One connection and one thread for both lanes. */
  readonly isShared: boolean
  readonly about: string
  window(pageBytes: number, without?: readonly LevelName[]): Window
}

const KIB = 1024

export const SCHEDULINGS = {
  S0: {
    isShared: true,
    about: 'one connection, first in first out, prefault unrestrained',
    window: () => new FixedWindow(1024 * KIB),
  },
  S1: {
    isShared: false,
    about: 'two connections, prefault unrestrained',
    window: () => new FixedWindow(1024 * KIB),
  },
  S2: {
    isShared: false,
    about: 'Faultlane: two lanes, prefault in the gaps',
    window: (pageBytes: number, without?: readonly LevelName[]) =>
      new AdaptiveWindow(
        pageBytes,
        PREFAULT_READ_PAGES_MAX,
        QUIET_READ_PAGES_MAX,
        isOn('following', without),
      ),
  },
  S3: {
    isShared: true,
    about: 'one connection, one page per idle turn (Cloud Hypervisor)',
    window: (pageBytes) => new GatedWindow(pageBytes),
  },
  S4: {
    isShared: true,
    about: 'one connection, bulk only when nothing is outstanding, 64 KiB growing to 4 MiB (CRIU)',
    window: () => new GrowingWindow(64 * KIB, 64 * KIB, 4096 * KIB),
  },
} as const satisfies Record<string, Scheduling>

export type SchedulingName = keyof typeof SCHEDULINGS
export const SCHEDULING_NAMES = Object.keys(SCHEDULINGS) as SchedulingName[]

/** A scheduling with some of its levels switched off. */
export function schedulingOf(name: SchedulingName, without: readonly LevelName[]): Scheduling {
  const scheduling = SCHEDULINGS[name]
  return {
    isShared: scheduling.isShared || !isOn('connection', without),
    about: scheduling.about,
    window: (pageBytes) => {
      if (!isOn('window', without)) return new FixedWindow(1024 * KIB)
      const window = scheduling.window(pageBytes, without)
      return isOn('short-reads', without) ? window : new HeedlessWindow(window)
    },
  }
}
