import { describe, expect, it } from 'vitest'
import { HandlingLead } from '../../../src/transport/rdma-sim/handling-lead.ts'

/** Lateness of each of `reads`, of a host that takes `handlingNs` for an arrival it begins to handle at the lead. */
function lateness(lead: HandlingLead, handlingNs: (read: number) => number, reads: number): number[] {
  return Array.from({ length: reads }, (_, read) => {
    const lateNs = handlingNs(read) - lead.ns
    lead.onDelivered(lateNs)
    return lateNs
  })
}

describe('the lead of an arrival', () => {
  it('is what handling takes at least: from then on none is early, and the quickest is on time', () => {
    const lead = new HandlingLead()
    const handling = (read: number) => 700 + (read % 10) * 50
    expect(Math.min(...lateness(lead, handling, 64))).toBe(700)
    const late = lateness(lead, handling, 640)
    expect([Math.min(...late), Math.max(...late)]).toEqual([0, 450])
  })

  it('follows a host that has become quicker within 64 reads, and one that has become slower', () => {
    const lead = new HandlingLead()
    lateness(lead, () => 900, 128)
    lateness(lead, () => 300, 64)
    expect(lateness(lead, () => 300, 64)).toEqual(Array(64).fill(0))
    lateness(lead, () => 1500, 64)
    expect(lateness(lead, () => 1500, 64)).toEqual(Array(64).fill(0))
  })

  it('makes up for no processor that was elsewhere', () => {
    const lead = new HandlingLead()
    lateness(lead, () => 50_000, 1000)
    expect(lead.ns).toBe(2000)
    lateness(lead, () => 0, 64)
    expect(lead.ns).toBe(0)
  })
})
