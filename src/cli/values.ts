/** Reads what a user types: sizes, durations, choices. Each refusal names the value and what would be right. */
import { InvalidArgumentError } from 'commander'

const SIZE_UNITS: Record<string, number> = {
  '': 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
}

/** `256MiB` → bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text)
  const unit = SIZE_UNITS[match?.[2] ?? '?']
  const bytes = unit === undefined ? Number.NaN : Number(match?.[1]) * unit
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw new InvalidArgumentError('expected a size like 4096, 64KiB or 2GiB.')
  return bytes
}

const PAGE_SIZES = [4096, 2 ** 21, 2 ** 30]

/** Page sizes that a client can have. */
export function parsePageSize(text: string): number {
  const bytes = parseSize(text)
  if (!PAGE_SIZES.includes(bytes)) throw new InvalidArgumentError('expected 4096, 2MiB or 1GiB.')
  return bytes
}

/** `256MiB` → bytes, for what is made of whole MiB. */
export function parseMebibytes(text: string): number {
  const bytes = parseSize(text)
  if (bytes % 2 ** 20 !== 0) throw new InvalidArgumentError('expected whole MiB, like 256MiB.')
  return bytes
}

const DURATION_UNITS: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 }

/** `50us` → nanoseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ns|us|ms|s)$/.exec(text)
  if (text === '0') return 0
  if (!match) throw new InvalidArgumentError('expected a duration like 50us, 3ms or 1s.')
  return Number(match[1]) * (DURATION_UNITS[match[2] as string] as number)
}

export function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgumentError('expected a whole number of at least 1.')
  return count
}

const DILATION_MAX = 1000

export function parseDilation(text: string): number {
  const factor = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0
  if (factor < 1 || factor > DILATION_MAX)
    throw new InvalidArgumentError(`expected a number from 1 to ${DILATION_MAX}.`)
  return factor
}

/** 1234567 → `1.2 MiB`. */
export function formatSize(bytes: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB'] as const) {
    const size = SIZE_UNITS[unit] as number
    if (bytes >= size) return `${Number((bytes / size).toFixed(1))} ${unit}`
  }
  return `${bytes} B`
}

const RATE_UNITS: Record<string, number> = { kbit: 1e3, Mbit: 1e6, Gbit: 1e9 }

/** SO_MAX_PACING_RATE is an int32 of bytes. */
const RATE_MAX = 17e9

/** `900Mbit` → bytes a second. */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kMG]bit)$/.exec(text)
  const bits = match ? Number(match[1]) * (RATE_UNITS[match[2] as string] as number) : 0
  if (bits < 1e6 || bits > RATE_MAX)
    throw new InvalidArgumentError('expected a rate from 1Mbit to 17Gbit, like 900Mbit.')
  return Math.round(bits / 8)
}

/** `auto`, `off` or a processor's number. */
export function parseAffinity(text: string): 'auto' | 'off' | number {
  if (text === 'auto' || text === 'off') return text
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('expected auto, off or a processor’s number.')
  return Number(text)
}

/** `a,b` → a and b; said twice, the flag adds up. */
export function parseList<T extends string>(text: string, before: readonly T[] = []): T[] {
  return [...before, ...(text.split(',').map((word) => word.trim()) as T[])]
}

/** What a ready line says of levels that are switched off. */
export const sayWithout = (levels: readonly string[]): string =>
  levels.length === 0 ? '' : ` without ${levels.join(',')}`
