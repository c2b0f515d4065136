import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { INIT_MASK, RTR_MASK, RTS_MASK } from '../../../src/transport/rdma-sim/connect.ts'
import type { QpAttributes } from '../../../src/transport/rdma-sim/qp-attributes.ts'
import {
  ASYNC_EVENT,
  EINVAL,
  ENOMEM,
  QP_ATTR,
  QP_STATE,
  WC_STATUS,
  WR_OPCODE,
} from '../../../src/transport/rdma-sim/verbs.ts'
import { type End, events, outcomes, Pair, poll, post, postReceive } from './pair.ts'

const A = QP_ATTR
const S = QP_STATE
const STEPS = [
  [S.INIT, INIT_MASK],
  [S.RTR, RTR_MASK],
  [S.RTS, RTS_MASK],
] as const

function attributesFor(peer: End): QpAttributes {
  return {
    pkeyIndex: 0,
    port: 1,
    accessFlags: 14,
    av: { device: peer.device.number, sl: 0 },
    pathMtu: 2048,
    destQpn: peer.qp.number,
    rqPsn: 0,
    sqPsn: 0,
    maxDestRdAtomic: 4,
    maxRdAtomic: 4,
    minRnrTimer: 12,
    timeout: 14,
    retryCount: 7,
    rnrRetry: 7,
  }
}

/** Everything that modifyQp may change. */
function seen({ qp }: End): string {
  const { state, accessFlags, destDevice, destQpn, sl, pathMtu, timeout, retryCount, rnrRetry } = qp
  const { maxRdAtomic, maxDestRdAtomic, minRnrTimer, sqPsn, responder } = qp
  const all = [state, accessFlags, destDevice, destQpn, sl, pathMtu, timeout, retryCount, rnrRetry]
  return [...all, maxRdAtomic, maxDestRdAtomic, minRnrTimer, sqPsn, responder.expectedPsn].join()
}

describe('modifyQp', () => {
  it('goes RESET, INIT, RTR, RTS, and refuses every step with a required attribute missing, changing nothing', () => {
    const { a, b } = new Pair({ isConnected: false })
    const attributes = attributesFor(b)
    for (const [state, mask] of STEPS) {
      const before = seen(a)
      for (let bit = 0; bit <= 20; bit++) {
        if ((mask & ~A.STATE & (1 << bit)) === 0) continue
        expect(a.device.modifyQp(a.qp, { ...attributes, state }, mask & ~(1 << bit))).toBe(EINVAL)
        expect(seen(a)).toBe(before)
      }
      expect(a.device.modifyQp(a.qp, { ...attributes, state }, mask)).toBe(0)
      expect(a.qp.state).toBe(state)
    }
  })

  it('is illegal from any state to any other but along the documented arrows', () => {
    const legal = new Set(['0>1', '1>1', '1>2', '2>3', '3>3', '3>4', '4>3', '4>4'])
    for (const from of Object.values(S)) {
      for (const to of Object.values(S)) {
        const pair = new Pair({ isConnected: false })
        const { a, b } = pair
        const attributes = attributesFor(b)
        for (const [state, mask] of STEPS) {
          if (from >= state && from !== S.ERR && from !== S.SQE)
            a.device.modifyQp(a.qp, { ...attributes, state }, mask)
        }
        if (from === S.SQD || from === S.ERR) a.device.modifyQp(a.qp, { state: from }, A.STATE)
        if (a.qp.state !== from) continue // SQE is for other kinds of queue pairs.
        const mask = to === S.INIT ? INIT_MASK : to === S.RTR ? RTR_MASK : to === S.RTS ? RTS_MASK : A.STATE
        const tries = [mask, A.STATE].map((m) => a.device.modifyQp(a.qp, { ...attributes, state: to }, m))
        const isLegal = legal.has(`${from}>${to}`) || to === S.RESET || to === S.ERR
        expect(tries.includes(0), `${from} to ${to}`).toBe(isLegal)
      }
    }
  })

  it('refuses any wrong mask or value without changing anything', () => {
    const bad: QpAttributes[] = [
      { timeout: 32 },
      { retryCount: 8 },
      { rnrRetry: -1 },
      { maxRdAtomic: 17 },
      { sqPsn: 2 ** 24 },
      { sqPsn: 0.5 },
    ]
    for (const wrong of bad) {
      const { a, b } = new Pair({ isConnected: false })
      const attributes = attributesFor(b)
      for (const [state, mask] of STEPS.slice(0, 2)) a.device.modifyQp(a.qp, { ...attributes, state }, mask)
      const before = seen(a)
      expect(a.device.modifyQp(a.qp, { ...attributes, ...wrong, state: S.RTS }, RTS_MASK)).toBe(EINVAL)
      expect(seen(a)).toBe(before)
    }
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 21 - 1 }),
        fc.constantFrom(...Object.values(S)),
        (mask, state) => {
          const { a, b } = new Pair({ isConnected: false })
          const before = seen(a)
          const errno = a.device.modifyQp(a.qp, { ...attributesFor(b), curState: 0, state }, mask)
          if (errno !== 0) expect(seen(a)).toBe(before)
          else expect([INIT_MASK, INIT_MASK | A.CUR_STATE, A.STATE, 0, A.CUR_STATE].includes(mask)).toBe(true)
        },
      ),
      { seed: 11 },
    )
  })

  it('refuses a service level whose lane never sends, and a device that is not there', () => {
    const { a, b } = new Pair({ isConnected: false, device: { slToVl: [0, 1, 9, ...Array(13).fill(0)] } })
    const attributes = attributesFor(b)
    a.device.modifyQp(a.qp, { ...attributes, state: S.INIT }, INIT_MASK)
    for (const av of [
      { device: b.device.number, sl: 2 },
      { device: 7, sl: 0 },
    ])
      expect(a.device.modifyQp(a.qp, { ...attributes, av, state: S.RTR }, RTR_MASK)).toBe(EINVAL)
    expect(a.qp.state).toBe(S.INIT)
  })
})

describe('posting by state', () => {
  it('sends only in RTS, SQD and ERR; receives from INIT on', () => {
    const { a, b } = new Pair({ isConnected: false })
    const attributes = attributesFor(b)
    expect([post(a, b, {}), postReceive(a)]).toEqual([EINVAL, EINVAL])
    for (const [state, mask] of STEPS) {
      a.device.modifyQp(a.qp, { ...attributes, state }, mask)
      expect([post(a, b, {}), postReceive(a)]).toEqual([state === S.RTS ? 0 : EINVAL, 0])
    }
  })

  it('a queue pair that is draining finishes what it began, says so, and goes on when it is let', () => {
    const pair = new Pair()
    const { a, b } = pair
    for (let id = 0; id < 4; id++) post(a, b, { id, length: 4096 })
    while (a.qp.slots.next < 2) pair.fabric.step()
    const mask = A.STATE | A.EN_SQD_ASYNC_NOTIFY
    expect(a.device.modifyQp(a.qp, { state: S.SQD, isSqdNotified: true }, mask)).toBe(0)
    const begun = a.qp.slots.next
    expect(post(a, b, { id: 4 })).toBe(0)
    pair.settle()
    expect(poll(a.sendCq).length).toBe(begun)
    expect(events(a.device)).toEqual([ASYNC_EVENT.SQ_DRAINED])
    expect(a.device.modifyQp(a.qp, { state: S.RTS }, A.STATE)).toBe(0)
    pair.settle()
    expect(poll(a.sendCq).map((done) => done.id)).toEqual([0, 1, 2, 3, 4].slice(begun))
  })

  it('RESET forgets what was under way, without completions, and the queue pair connects again', () => {
    const pair = new Pair({ depth: 4 })
    const { a, b } = pair
    for (let id = 0; id < 4; id++) post(a, b, { id })
    for (const end of [a, b]) expect(end.device.modifyQp(end.qp, { state: S.RESET }, A.STATE)).toBe(0)
    pair.settle()
    expect(poll(a.sendCq)).toEqual([])
    for (const [end, peer] of [
      [a, b],
      [b, a],
    ] as const)
      for (const [state, mask] of STEPS)
        expect(end.device.modifyQp(end.qp, { ...attributesFor(peer), state }, mask)).toBe(0)
    for (let id = 10; id < 14; id++) expect(post(a, b, { id })).toBe(0)
    pair.settle()
    expect(outcomes(a.sendCq)).toEqual([10, 11, 12, 13].map((id) => [id, WC_STATUS.SUCCESS]))
  })
})

describe('destroyed', () => {
  it('a queue pair is gone at once, its peer hears nothing, and its device makes others', () => {
    const pair = new Pair({ timeout: 8, retryCount: 1 })
    const { a, b } = pair
    for (let id = 0; id < 8; id++) post(a, b, { id, length: 4096 })
    for (let i = 0; i < 20; i++) pair.fabric.step()
    b.device.destroyQp(b.qp)
    b.device.destroyQp(b.qp)
    pair.settle()
    const [first, ...rest] = outcomes(a.sendCq).filter(([, status]) => status !== WC_STATUS.SUCCESS)
    expect(first![1]).toBe(WC_STATUS.RETRY_EXC_ERR)
    expect(rest.every(([, status]) => status === WC_STATUS.WR_FLUSH_ERR)).toBe(true)
    const { pd, sendCq, recvCq } = b
    const next = b.device.createQp({ pd, sendCq, recvCq }, { maxSendWr: 4, maxRecvWr: 4 })
    expect(next.number).not.toBe(b.qp.number)
  })
})

describe('bounded queues', () => {
  it('gives slots back only with a completion: unsignalled requests fill the queue for good', () => {
    const pair = new Pair({ depth: 4 })
    const { a, b } = pair
    for (let i = 0; i < 4; i++) expect(post(a, b, { opcode: WR_OPCODE.RDMA_WRITE, flags: 0 })).toBe(0)
    pair.settle()
    expect(poll(a.sendCq)).toEqual([])
    expect(post(a, b, {})).toBe(ENOMEM)
  })

  it('a later completion frees the unsignalled slots before it', () => {
    const pair = new Pair({ depth: 4 })
    const { a, b } = pair
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 3; i++) expect(post(a, b, { opcode: WR_OPCODE.RDMA_WRITE, flags: 0 })).toBe(0)
      expect(post(a, b, { id: round })).toBe(0)
      pair.settle()
      expect(post(a, b, {}), 'completed is not yet polled').toBe(ENOMEM)
      expect(outcomes(a.sendCq)).toEqual([[round, WC_STATUS.SUCCESS]])
    }
  })

  it('a full receive queue refuses', () => {
    const { a } = new Pair({ depth: 4 })
    expect([1, 2, 3, 4, 5].map(() => postReceive(a))).toEqual([0, 0, 0, 0, ENOMEM])
  })

  it('an overrun breaks the completion queue and its queue pairs', () => {
    const pair = new Pair({ depth: 8, cqEntries: 4 })
    const { a, b } = pair
    for (let id = 0; id < 5; id++) post(a, b, { id })
    pair.settle()
    expect(a.sendCq.isBroken).toBe(true)
    expect(poll(a.sendCq)).toEqual([])
    expect(a.qp.state).toBe(S.ERR)
    expect(b.qp.state).toBe(S.RTS)
    expect(events(a.device)).toEqual([ASYNC_EVENT.CQ_ERR, ASYNC_EVENT.QP_FATAL])
  })
})
