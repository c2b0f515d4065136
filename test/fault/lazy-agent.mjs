// A demand agent in a thread of its own: answers the faults of a LazyMemory with the synthetic pattern.
import { workerData } from 'node:worker_threads'
import { LazyFaults, LazyPlacer } from '../../dist/fault/lazy-faults.js'
import { fillSyntheticPage } from '../../dist/memory/synthetic.js'
import { NativeBuffer } from '../../dist/native/buffer.js'
import { Doorbell } from '../../dist/ring/doorbell.js'

const { description, bell, lost } = workerData
const faults = new LazyFaults(description)
const placer = new LazyPlacer(description)
const doorbell = new Doorbell(bell, 0)
const page = new NativeBuffer(4096)
const sink = {
  onFault(index) {
    if (lost.includes(index)) return placer.lose(index, 1)
    fillSyntheticPage(page.u32, 0, index)
    placer.place(index, 1, page.address)
  },
  onRemove() {},
}
while (!doorbell.isStopped()) {
  doorbell.announce()
  if (faults.pollFaults(sink) === 0) doorbell.park(100)
}
