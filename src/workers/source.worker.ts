/** Wiring: one source agent in one thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { DEMAND_SLICE_NS } from '../config.ts'
import { isOn } from '../levels.ts'
import { EventFd } from '../native/event-fd.ts'
import { scheduleThread, sleepExactly } from '../native/sched.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { settleThread } from './affinity.ts'
import { ifAllowed } from './if-allowed.ts'
import type { ServePlan } from './plans.ts'
import { runWorker } from './run-worker.ts'
import { runSource } from './source-loop.ts'
import { loadSourceTransport, schemeOf } from './transports.ts'
import { makeGiveWay } from './wait.ts'
import { warmUpSource } from './warm-up-source.ts'

await runWorker('source', parentPort, async (tell) => {
  const plan = workerData as ServePlan
  const transport = await loadSourceTransport(plan.url)
  // What can be refused is asked before there is a socket to leave behind.
  settleThread(plan.affinity)
  if (plan.link !== undefined) sleepExactly()
  if (isOn('class', plan.without)) scheduleThread(0, DEMAND_SLICE_NS)
  const bell = new EventFd(plan.bellFd)
  const doorbell = new Doorbell(plan.bell, 0, { signal: () => bell.signal(), sleep: () => {} })
  if (schemeOf(plan.url) === 'tcp')
    ifAllowed(() => warmUpSource(plan.wait, plan.link !== undefined, () => doorbell.isStopped()))
  const source = transport.listen(plan.url, plan.image, {
    wakeFd: bell.fd,
    without: plan.without,
    giveWay: makeGiveWay(isOn('yield', plan.without)),
    paceBytesPerSecond: plan.pace,
    ...(plan.link === undefined ? {} : { link: plan.link }),
    linkLateness: plan.linkLateness,
    linkQueueing: plan.linkQueueing,
    onRefused: (reason) => tell({ kind: 'refused-peer', reason }),
  })
  tell({ kind: 'ready', url: source.url })
  runSource(source, plan.bell, bell, plan.wait, () => false, isOn('yield', plan.without))
  source.close()
})
