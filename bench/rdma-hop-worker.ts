/** The NIC's end of a queue pair without a model: takes each request out of its ring and completes it at once. */
import { workerData } from 'node:worker_threads'
import { NO_RECORD } from '../src/ring/layout.ts'
import { LineConsumer } from '../src/ring/line-ring.ts'
import { CompletionQueue } from '../src/transport/rdma-sim/completion-queue.ts'
import { loadWide, SEND } from '../src/transport/rdma-sim/work-request.ts'
import type { HopSetup } from './rdma-hop.ts'

const { sendRing, doneRing, bare, there, back, steps, bouncesEach, count, qpNumber } = workerData as HopSetup
const slots = sendRing.capacity
const requests = new LineConsumer(sendRing)
const completions = new CompletionQueue(doneRing)

function answerBare(): void {
  let word = 0
  for (const step of steps) {
    for (let i = 0; i < bouncesEach; i++) {
      const at = (++word % slots) * step
      while (Atomics.load(bare, there + at) !== word);
      Atomics.store(bare, back + at, word)
    }
  }
}

function complete(): void {
  for (let taken = 0; taken < count; ) {
    const at = requests.peek()
    if (at === NO_RECORD) continue
    const id = loadWide(requests.words, at + SEND.ID)
    const opcode = requests.words[at + SEND.OPCODE]!
    requests.release()
    if (!completions.add(id, 0, opcode, 4096, 0, qpNumber, taken, false, 0)) throw new Error('overrun')
    taken++
  }
}

answerBare()
complete()
