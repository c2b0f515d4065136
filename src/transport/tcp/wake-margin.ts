/**
 * How long before its time a thread asks to be woken. A timer of a virtual machine ends a sleep 40 to 130 µs late,
 * by how deep the processor slept; this learns by how much, so that what is urgent can be met by spinning a few
 * microseconds, and what is not comes on time in the middle without any spinning. Pure: time is handed in.
 */
const STEP_NS = 2000
const NS_MAX = 400_000
/** Of wake-ups, the share that is in time for what is urgent, and the share that is early for what is not. */
const URGENT_IN_TIME = 0.9
const BULK_EARLY = 0.1
/** Sleeping less than this is not worth the system call. */
const SLEEP_NS_MIN = 5000

export class WakeMargin {
  #urgentNs = 60_000
  #bulkNs = 30_000
  #askedNs = Infinity

  /**
   * Nanoseconds to sleep now; 0: spin. Urgent things are awaited spinning when they come closer than a sleep is
   * exact; for others there is always a shortest sleep, which then delivers all that came due meanwhile together,
   * as a network card does with its interrupts.
   */
  sleepNs(urgentNs: number, bulkNs: number, nowNs: number): number {
    const urgentSleepNs = urgentNs - nowNs - this.#urgentNs
    if (urgentSleepNs < SLEEP_NS_MIN || bulkNs <= nowNs) return this.#ask(Infinity, 0)
    const sleepNs = Math.min(urgentSleepNs, Math.max(1, bulkNs - nowNs - this.#bulkNs))
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
    this.#urgentNs = toQuantile(this.#urgentNs, lateNs, URGENT_IN_TIME)
    this.#bulkNs = toQuantile(this.#bulkNs, lateNs, BULK_EARLY)
  }
}

/** A step towards the value that a share of all samples is below: in balance, the steps up and down cancel out. */
function toQuantile(ns: number, sampleNs: number, share: number): number {
  const step = sampleNs > ns ? share * STEP_NS : (share - 1) * STEP_NS
  return Math.max(0, Math.min(NS_MAX, ns + step))
}
