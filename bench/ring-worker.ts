/**
 * One end of each way to move 16-byte records between two threads. A job says how many to move, by which way; the
 * answer comes when they are moved. Both ends work for each record: the sender makes its four words, the receiver
 * adds them up, and the sums have to agree.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { RingBuffer } from 'ringbuf.js'
import { NO_RECORD } from '../src/ring/layout.ts'
import { RingConsumer, RingProducer } from '../src/ring/spsc-ring.ts'
import { BATCH, type Job, RECORD_WORDS, type Setup } from './ring-setup.ts'

const setup = workerData as Setup
const ringbuf = new RingBuffer(setup.ringbuf, Int32Array)
const block = new Int32Array(BATCH * RECORD_WORDS)
const record = new Int32Array(RECORD_WORDS)

function write(words: Int32Array, at: number, number: number): void {
  words[at] = number
  words[at + 1] = number ^ 0x55
  words[at + 2] = number + 7
  words[at + 3] = 1
}

function sum(words: Int32Array, at: number): number {
  return (words[at]! + words[at + 1]! + words[at + 2]! + words[at + 3]!) | 0
}

/** The ends live as long as the thread, as an agent's do. */
const ringEnd = setup.isSender ? new RingProducer(setup.ring) : new RingConsumer(setup.ring)
const ringBackEnd = setup.isSender ? new RingConsumer(setup.ringBack) : new RingProducer(setup.ringBack)

const senders = {
  'ring batch': (count: number) => {
    const producer = ringEnd as RingProducer
    for (let sent = 0; sent < count; ) {
      const claimed = producer.tryClaimBatch(Math.min(BATCH, count - sent))
      let at = producer.claimIndex()
      for (let i = 0; i < claimed; i++, at += RECORD_WORDS) write(producer.words, at, sent + i)
      if (claimed > 0) producer.commitBatch(claimed)
      sent += claimed
    }
  },
  'ring single': (count: number) => {
    const producer = ringEnd as RingProducer
    for (let sent = 0; sent < count; ) {
      const at = producer.tryClaim()
      if (at === NO_RECORD) continue
      write(producer.words, at, sent++)
      producer.commit()
    }
  },
  'ringbuf record': (count: number) => {
    for (let sent = 0; sent < count; ) {
      write(record, 0, sent)
      while (ringbuf.push(record) === 0);
      sent++
    }
  },
  'ringbuf block': (count: number) => {
    for (let sent = 0; sent < count; ) {
      const records = Math.min(BATCH, count - sent)
      for (let i = 0; i < records; i++) write(block, i * RECORD_WORDS, sent + i)
      for (let pushed = 0; pushed < records * RECORD_WORDS; ) {
        pushed += ringbuf.push(block, records * RECORD_WORDS - pushed, pushed)
      }
      sent += records
    }
  },
}

const receivers = {
  'ring batch': (count: number) => {
    const consumer = ringEnd as RingConsumer
    let total = 0
    for (let received = 0; received < count; ) {
      const peeked = consumer.peekBatch(BATCH)
      let at = consumer.peekIndex()
      for (let i = 0; i < peeked; i++, at += RECORD_WORDS) total = (total + sum(consumer.words, at)) | 0
      if (peeked > 0) consumer.releaseBatch(peeked)
      received += peeked
    }
    return total
  },
  'ring single': (count: number) => {
    const consumer = ringEnd as RingConsumer
    let total = 0
    for (let received = 0; received < count; ) {
      const at = consumer.peek()
      if (at === NO_RECORD) continue
      total = (total + sum(consumer.words, at)) | 0
      consumer.release()
      received++
    }
    return total
  },
  'ringbuf record': (count: number) => {
    let total = 0
    for (let received = 0; received < count; received++) {
      while (ringbuf.pop(record) === 0);
      total = (total + sum(record, 0)) | 0
    }
    return total
  },
  'ringbuf block': (count: number) => {
    let total = 0
    for (let received = 0; received < count; ) {
      const records = ringbuf.pop(block) / RECORD_WORDS
      for (let i = 0; i < records; i++) total = (total + sum(block, i * RECORD_WORDS)) | 0
      received += records
    }
    return total
  },
}

/** A record there and one back, both ends spinning. */
function hopAsSender(count: number): void {
  const [there, back] = [ringEnd as RingProducer, ringBackEnd as RingConsumer]
  for (let i = 0; i < count; i++) {
    const startedMs = performance.now()
    write(there.words, there.tryClaim(), i)
    there.commit()
    while (back.peek() === NO_RECORD);
    setup.roundTripsNs[i] = (performance.now() - startedMs) * 1e6
    back.release()
  }
}

function hopAsReceiver(count: number): void {
  const [there, back] = [ringEnd as RingConsumer, ringBackEnd as RingProducer]
  for (let i = 0; i < count; i++) {
    let at = there.peek()
    while (at === NO_RECORD) at = there.peek()
    write(back.words, back.tryClaim(), sum(there.words, at))
    there.release()
    back.commit()
  }
}

function send({ way, count }: Job): void {
  if (way === 'hop') hopAsSender(count)
  else if (way === 'port') sendMessages(count)
  else senders[way](count)
}

function sendMessages(count: number): void {
  for (let i = 0; i < count; i++) {
    const message = new Int32Array(RECORD_WORDS)
    write(message, 0, i)
    setup.port.postMessage(message)
  }
}

function receive({ way, count }: Job, answer: (total: number) => void): void {
  if (way === 'port') {
    let received = 0
    let total = 0
    setup.port.on('message', (message: Int32Array) => {
      total = (total + sum(message, 0)) | 0
      if (++received === count) {
        setup.port.removeAllListeners('message')
        answer(total)
      }
    })
  } else if (way === 'hop') {
    hopAsReceiver(count)
    answer(0)
  } else {
    answer(receivers[way](count))
  }
}

parentPort!.on('message', (job: Job) => {
  if (setup.isSender) {
    send(job)
    parentPort!.postMessage(0)
  } else {
    receive(job, (total) => parentPort!.postMessage(total))
  }
})
