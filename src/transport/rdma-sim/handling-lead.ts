/**
 * How long before its time an arrival is handled, so that it is delivered at its time: to copy a page and to complete its
 * READ takes this host about a microsecond, which no NIC would add. Learned as the least lateness of the last reads, so that the
 * quickest of them is on time and none is early but by what it is quicker than those before. Pure: time is handed in.
 */
const READS = 64
/** More is no handling any more, but a processor that was elsewhere. */
const NS_MAX = 2000

export class HandlingLead {
  ns = 0
  #leastNs = Infinity
  #reads = 0

  /** A read was delivered so long after the model's time, with the lead that there was. */
  onDelivered(lateNs: number): void {
    if (lateNs < this.#leastNs) this.#leastNs = lateNs
    if (++this.#reads < READS) return
    this.ns = Math.max(0, Math.min(NS_MAX, this.ns + this.#leastNs))
    this.#leastNs = Infinity
    this.#reads = 0
  }
}
