/** Wiring: one source agent in one thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicClock } from '../clock.ts'
import { EventFd } from '../native/event-fd.ts'
import { Doorbell } from '../ring/doorbell.ts'
import { settleThread } from './affinity.ts'
import type { ServePlan } from './plans.ts'
import { runAgent } from './run-agent.ts'
import { runWorker } from './run-worker.ts'
import { loadSourceTransport } from './transports.ts'
import { makeWait } from './wait.ts'
import { warmUpSource } from './warm-up.ts'

await runWorker(async (tell) => {
  const plan = workerData as ServePlan
  const transport = await loadSourceTransport(plan.url)
  const bell = new EventFd(plan.bellFd)
  const source = transport.listen(plan.url, plan.image, {
    wakeFd: bell.fd,
    ...(plan.link === undefined ? {} : { link: plan.link, linkLateness: plan.linkLateness }),
    onRefused: (reason) => tell({ kind: 'refused-peer', reason }),
  })
  const agent = {
    role: 'source',
    doWork: () => source.doWork(),
    hasNews: () => false,
    park: (ms: number) => source.park(ms),
  }
  const doorbell = new Doorbell(plan.bell, 0, { signal: () => bell.signal(), sleep: agent.park })
  settleThread(plan.affinity)
  warmUpSource()
  tell({ kind: 'ready', url: source.url })
  runAgent(agent, doorbell, makeWait(plan.wait, monotonicClock), () => false)
  source.close()
}, parentPort)
