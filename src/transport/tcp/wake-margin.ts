/**
 * How long before its time a thread asks to be woken. A timer of a virtual machine ends a sleep 40 to 130 µs late, and whoever
 * has slept for long finds its caches cold: after 25 ms another 0.2 ms pass between waking and sending. This learns by how
 * much, so that what is urgent can be met by spinning for the rest, and what is not comes on time in the middle without any
 * spinning. Pure: time is handed in.
 */
const BULK_STEP_NS = 2000
/** Of its own value, so that few samples take it from what a warm processor needs to what a cold one does. */
const URGENT_STEP = 1 / 16
const URGENT_NS_MIN = 5000
/** Before anything is learned; what is met without sleeping is no reason to believe in an exacter timer. */
const URGENT_NS_START = 60_000
const NS_MAX = 400_000
/** Of sleeps, the share that is over in time for what is urgent, and the share that is early for what is not. */
const URGENT_IN_TIME = 0.9
const BULK_EARLY = 0.1
/** Handed over within this is in time: a turn takes as long. */
const IN_TIME_NS = 5000
/** Sleeping less than this is not worth the system call. */
const SLEEP_NS_MIN = 5000

export class WakeMargin {
  #urgentNs = URGENT_NS_START
  #bulkNs = 30_000
  #askedNs = Infinity
  #isForUrgent = false
  #wasForUrgent = false
  #isSpinning = false

  /**
   * Nanoseconds to sleep now; 0: spin. Urgent things are awaited spinning when they come closer than a sleep is
   * exact; for others there is always a shortest sleep, which then delivers all that came due meanwhile together,
   * as a network card does with its interrupts.
   */
  sleepNs(urgentNs: number, bulkNs: number, nowNs: number): number {
    const urgentSleepNs = urgentNs - nowNs - this.#urgentNs
    this.#isSpinning = urgentSleepNs < SLEEP_NS_MIN
    if (this.#isSpinning || bulkNs <= nowNs) return this.#ask(Infinity, 0)
    const bulkSleepNs = Math.max(1, bulkNs - nowNs - this.#bulkNs)
    const sleepNs = Math.min(urgentSleepNs, bulkSleepNs)
    this.#isForUrgent = urgentSleepNs <= bulkSleepNs
    return this.#ask(nowNs + sleepNs, sleepNs)
  }

  #ask(wakeNs: number, sleepNs: number): number {
    this.#askedNs = wakeNs
    return sleepNs
  }

  /** The sleep is over because its time is. */
  onWoken(nowNs: number): void {
    const lateNs = nowNs - this.#askedNs
    if (!(lateNs >= 0)) return
    this.#wasForUrgent = this.#isForUrgent
    const step = lateNs > this.#bulkNs ? BULK_EARLY * BULK_STEP_NS : (BULK_EARLY - 1) * BULK_STEP_NS
    this.#bulkNs = Math.max(0, Math.min(NS_MAX, this.#bulkNs + step))
  }

  /**
   * Something urgent has been handed over so long after its time. The first after a sleep for its sake says how long that should
   * have been. One that was met spinning, without any sleep, takes a long margin back: else it would never be tried again.
   */
  onDelivered(lateNs: number): void {
    const isLate = lateNs > IN_TIME_NS
    const isTooLong = this.#isSpinning && !isLate && this.#urgentNs > URGENT_NS_START
    const isTaught = this.#wasForUrgent || isTooLong
    this.#wasForUrgent = false
    this.#isSpinning = false
    if (!isTaught) return
    // Towards the value that nine of ten need less than: in balance, the steps up and down cancel out.
    const step = isLate ? URGENT_IN_TIME : URGENT_IN_TIME - 1
    this.#urgentNs = Math.max(URGENT_NS_MIN, Math.min(NS_MAX, this.#urgentNs * (1 + step * URGENT_STEP)))
  }
}
