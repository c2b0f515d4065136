import { describe, expect, it } from 'vitest'
import { type TouchOrder, touchOrder } from '../../src/measure/touch-order.ts'

const RAND = [27495, 58624, 30744, 751, 58351, 23675]
const ZIPF = [38266, 32319, 48287, 49095, 50823, 54909]

describe('touchOrder', () => {
  it.each<TouchOrder>(['seq', 'rand', 'stride'])('%s touches every page once', (name) => {
    for (const pages of [1, 2, 7, 8, 1000]) {
      const sorted = [...touchOrder(name, pages, pages)].sort((a, b) => a - b)
      expect(sorted).toEqual(Array.from({ length: pages }, (_, i) => i))
    }
  })

  it('does what pagebase client does', () => {
    // Printed by make_order() of bench/baselines/pagebase.c for 65,536 pages and seed 99.
    expect([...touchOrder('rand', 65_536, 6)]).toEqual(RAND)
    expect([...touchOrder('zipf', 65_536, 6)]).toEqual(ZIPF)
    expect([...touchOrder('stride', 20, 6)]).toEqual([0, 7, 14, 1, 8, 15])
  })

  it('repeats itself for a seed and differs for another; zipf may touch more often than there are pages', () => {
    expect(touchOrder('rand', 100, 50, 1)).toEqual(touchOrder('rand', 100, 50, 1))
    expect(touchOrder('rand', 100, 50, 1)).not.toEqual(touchOrder('rand', 100, 50, 2))
    const zipf = touchOrder('zipf', 10, 1000)
    expect(zipf).toHaveLength(1000)
    for (const page of zipf) expect(page).toBeLessThan(10)
  })
})
