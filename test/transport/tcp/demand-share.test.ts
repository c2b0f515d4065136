import { expect, test } from 'vitest'
import { DEMAND_SHARE_READS, REQUESTS_PER_TURN_MAX } from '../../../src/config.ts'
import { DemandShare } from '../../../src/transport/tcp/demand-share.ts'

test('one destination has as many as a turn takes, however long it asks', () => {
  const share = new DemandShare(true)
  expect(share.readsMax).toBe(REQUESTS_PER_TURN_MAX)
  for (let i = 0; i < 5000; i++) share.onAsked(7)
  expect(share.readsMax).toBe(REQUESTS_PER_TURN_MAX)
})

test('with a second one that asks now and then, a few; when it has long been quiet, as many as before', () => {
  const share = new DemandShare(true)
  share.onAsked(7)
  share.onAsked(9)
  expect(share.readsMax).toBe(DEMAND_SHARE_READS)
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 500; i++) {
      share.onAsked(7)
      expect(share.readsMax).toBe(DEMAND_SHARE_READS)
    }
    share.onAsked(9)
  }
  for (let i = 0; i < 2000; i++) share.onAsked(7)
  expect(share.readsMax).toBe(REQUESTS_PER_TURN_MAX)
})

test('off, it is always as many as a turn takes', () => {
  const share = new DemandShare(false)
  share.onAsked(7)
  share.onAsked(9)
  expect(share.readsMax).toBe(REQUESTS_PER_TURN_MAX)
})
