import { expect, it } from 'vitest'
import { formatCount, formatUs, textTable, threeDigits } from '../../src/report/text-table.ts'

it('aligns the first column left and the others right, and lets lines stand alone', () => {
  expect(
    textTable(['name', 'p50'], ['a line that is wider than all columns', ['a', '12 µs'], ['longer', '3']]),
  ).toBe(
    [
      'name      p50',
      '─────────────',
      'a line that is wider than all columns',
      'a       12 µs',
      'longer      3',
    ].join('\n'),
  )
})

it('takes short rows, empty cells and no rows at all', () => {
  expect(textTable(['a', 'bb'], [['x'], ['', 'y']])).toBe(['a  bb', '─────', 'x', '    y'].join('\n'))
  expect(textTable(['a', 'bb'], [])).toBe('a  bb\n─────')
})

it.each([
  [0, '0.00 µs'],
  [9.994, '9.99 µs'],
  [12.34, '12.3 µs'],
  [999.4, '999 µs'],
  [999.6, '1.00 ms'],
  [99_960, '100 ms'],
  [1_000_000, '1.00 s'],
  [123_456_789, '123 s'],
])('says %d µs as %s', (us, text) => {
  expect(formatUs(us)).toBe(text)
})

it('rounds up into the next number of digits, and separates thousands', () => {
  expect([9.996, 99.96, 0.004].map(threeDigits)).toEqual(['10.0', '100', '0.00'])
  expect(formatCount(65_536)).toBe('65,536')
})
