/** Aligned text for a terminal: a heading, rows, and lines that stand alone between rows. */

/** A row of cells, or a line over the whole width. */
export type TableLine = readonly string[] | string

const GAP = '  '

/** The first column is aligned left, the others right. Lines carry no trailing blanks and no newline at the end. */
export function textTable(heading: readonly string[], lines: readonly TableLine[]): string {
  const rows = [heading, ...lines.filter((line): line is readonly string[] => typeof line !== 'string')]
  const widths = heading.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  const rowText = (row: readonly string[]) =>
    widths
      .map((width, column) => {
        const cell = row[column] ?? ''
        return column === 0 ? cell.padEnd(width) : cell.padStart(width)
      })
      .join(GAP)
      .trimEnd()
  const rule = '─'.repeat(widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1))
  const body = lines.map((line) => (typeof line === 'string' ? line : rowText(line)))
  return [rowText(heading), rule, ...body].join('\n')
}

/** 1234.5 µs → `1.23 ms`: three digits and the unit that fits. */
export function formatUs(us: number): string {
  // 999.5 would be written as 1000: it takes the next unit.
  if (us < 999.5) return `${threeDigits(us)} µs`
  if (us < 999_500) return `${threeDigits(us / 1000)} ms`
  return `${threeDigits(us / 1e6)} s`
}

/** 0.98, 12.3, 456: never an exponent. */
export function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0)
  if (value >= 9.995) return value.toFixed(1)
  return value.toFixed(2)
}

/** 65536 → `65,536`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}
