/** Which page to fetch before anybody asks. Pure: no clock, no I/O, one owner (the prefault agent). */
export interface PrefaultPolicy {
  /** A thread has faulted on the page. */
  onFault(page: number): void
  /** Asked before onFault: the page is one of those that were named last, or will be next. */
  isNear(page: number): boolean
  /**
   * The page to look from for the next one to fetch: the lane takes the first MISSING page at or after it, and
   * wraps around at the end of the image.
   */
  cursor(): number
  /** The lane has asked for these pages, or found nothing up to `nextPage`. */
  advance(nextPage: number): void
}
