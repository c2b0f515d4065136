/** Many requests under way, a wire that loses any message, a receiver that is late: each is carried out once, in order. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { PSN_MASK, WR_OPCODE } from '../../../src/transport/rdma-sim/verbs.ts'
import { outcomes, Pair, poll, post, postReceive } from './pair.ts'

/** After how many events what is lost next. */
const losses = fc.array(fc.record({ afterEvents: fc.nat(60), isAnswer: fc.boolean() }), { maxLength: 12 })
type Losses = { afterEvents: number; isAnswer: boolean }[]

function run(pair: Pair, lost: Losses, each: () => void): void {
  for (const { afterEvents, isAnswer } of lost) {
    for (let i = 0; i < afterEvents; i++) {
      if (!pair.fabric.step()) break
      each()
    }
    if (isAnswer) pair.fabric.losses.answers++
    else pair.fabric.losses.requests++
  }
  for (let i = 0; i < 1_000_000; i++) {
    if (!pair.fabric.step()) return
    each()
  }
  throw new Error('still busy')
}

it('atomics', () => {
  fc.assert(
    fc.property(
      losses,
      fc.integer({ min: 1, max: 60 }),
      fc.constantFrom(1, 4, 16),
      (lost, count, maxRdAtomic) => {
        const pair = new Pair({ timeout: 6, maxRdAtomic })
        const { a, b } = pair
        // Sequence numbers wrap on the way.
        a.qp.sqPsn = PSN_MASK - 20
        b.qp.responder.expectedPsn = PSN_MASK - 20
        const found: bigint[] = []
        const landing = new DataView(a.bytes.buffer)
        for (let id = 0; id < count; id++) {
          const address = a.memory.address + 8 * id
          post(a, b, { opcode: WR_OPCODE.ATOMIC_FETCH_AND_ADD, compareAdd: 1n, address, id })
        }
        run(pair, lost, () => {
          for (const { id, status } of poll(a.sendCq)) {
            expect(status).toBe(0)
            expect(id).toBe(found.length)
            found.push(landing.getBigUint64(8 * id, true))
          }
        })
        expect(found).toEqual(Array.from({ length: count }, (_, i) => BigInt(i)))
        expect(new DataView(b.bytes.buffer).getBigUint64(0, true)).toBe(BigInt(count))
      },
    ),
    { seed: 21 },
  )
})

it('SENDs among READs and WRITEs, to a receiver that posts late', () => {
  const kinds = fc.array(fc.constantFrom('send', 'read', 'write'), { minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(losses, kinds, fc.integer({ min: 1, max: 200 }), (lost, all, stride) => {
      const pair = new Pair({ timeout: 6, minRnrTimer: 1 })
      const { a, b } = pair
      const sends = all.filter((kind) => kind === 'send').length
      const opcode = { send: WR_OPCODE.SEND, read: WR_OPCODE.RDMA_READ, write: WR_OPCODE.RDMA_WRITE } as const
      for (const [id, kind] of all.entries()) {
        a.bytes[id] = id + 1
        // A READ lands where nothing is sent from; a WRITE goes to a byte of its own.
        const address = a.memory.address + (kind === 'read' ? 4096 : id)
        const remoteAddress = b.memory.address + 1024 + id
        post(a, b, { opcode: opcode[kind as 'send'], id, address, remoteAddress, length: 1 })
      }
      let events = 0
      let posted = 0
      run(pair, lost, () => {
        if (++events % stride !== 0 || posted === sends) return
        postReceive(b, { id: posted, address: b.memory.address + posted, length: 1 })
        posted++
      })
      expect(outcomes(a.sendCq)).toEqual(all.map((_, id) => [id, 0]))
      expect(outcomes(b.recvCq)).toEqual(Array.from({ length: sends }, (_, id) => [id, 0]))
      const sent = [...all.entries()].filter(([, kind]) => kind === 'send').map(([id]) => id + 1)
      expect([...b.bytes.subarray(0, sends)]).toEqual(sent)
      for (const [id, kind] of all.entries()) expect(b.bytes[1024 + id]).toBe(kind === 'write' ? id + 1 : 0)
    }),
    { seed: 22 },
  )
})
