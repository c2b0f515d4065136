/** Places pages into the client of a userfaultfd session. One per placing thread. */
import { NativeBuffer } from '../native/buffer.ts'
import { PLACED, type Placer } from './fault-source.ts'
import type { RegionTable } from './region-table.ts'
import { PLACE, type Userfaultfd } from './userfaultfd.ts'

const HUGE_PAGE_MIN = 2 << 20

export class UffdPlacer implements Placer {
  status: number = PLACED.ALL
  /** Pages that were mapped already when we came (EEXIST): somebody else placed them. */
  existed = 0
  /** Pages that the client has unmapped: nobody can touch them. */
  unmapped = 0
  readonly #uffd: Userfaultfd
  readonly #regions: RegionTable
  #zeroes: NativeBuffer | undefined

  constructor(uffd: Userfaultfd, regions: RegionTable) {
    this.#uffd = uffd
    this.#regions = regions
    // hugetlb has no zero page to map: a page of zeros is copied instead.
    if (regions.pageBytes >= HUGE_PAGE_MIN) this.#zeroes = new NativeBuffer(regions.pageBytes, 4096)
  }

  place(firstPage: number, pageCount: number, address: number): number {
    return this.#fill(firstPage, pageCount, address, false)
  }

  placeZero(firstPage: number, pageCount: number): number {
    return this.#fill(firstPage, pageCount, 0, true)
  }

  wake(page: number): void {
    if (this.#regions.locate(page))
      this.#uffd.wake(this.#regions.hi, this.#regions.lo, this.#regions.pageBytes)
  }

  lose(): void {}

  #fill(firstPage: number, pageCount: number, address: number, isZero: boolean): number {
    const regions = this.#regions
    const pageBytes = regions.pageBytes
    let done = 0
    this.status = PLACED.ALL
    while (done < pageCount) {
      if (!regions.locate(firstPage + done)) {
        done++ // Outside every region: nobody can touch it.
        continue
      }
      let pages = Math.min(pageCount - done, regions.pagesLeft)
      let result: number
      if (!isZero) {
        result = this.#uffd.copy(regions.hi, regions.lo, address + done * pageBytes, pages * pageBytes)
      } else if (this.#zeroes) {
        pages = 1
        result = this.#uffd.copy(regions.hi, regions.lo, this.#zeroes.address, pageBytes)
      } else {
        result = this.#uffd.zeropage(regions.hi, regions.lo, pages * pageBytes)
      }
      // A run that leaves its mapping is refused whole: then page by page.
      if (result === PLACE.UNMAPPED && pages > 1) {
        if (this.#fill(firstPage + done, 1, address + done * pageBytes, isZero) === 0) return done
        done++
      } else if (result === PLACE.UNMAPPED) {
        this.unmapped++
        done++
      } else if (result > 0) done += Math.floor(result / pageBytes)
      else if (result === PLACE.EXISTS) {
        this.#uffd.wake(regions.hi, regions.lo, pageBytes)
        this.existed++
        done++
      } else {
        // EAGAIN, and what may pass (ENOMEM): whoever waits goes on waiting. Only a client that is gone waits for nothing.
        this.status = result === PLACE.GONE ? PLACED.GONE : PLACED.AGAIN
        return done
      }
    }
    return done
  }
}
