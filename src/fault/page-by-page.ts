/** A placer that gives each page a call of its own, so that none holds the client's mmap_lock for long (level `batch` off). */
import type { Placer } from './fault-source.ts'

export class PageByPage implements Placer {
  readonly #placer: Placer
  readonly #pageBytes: number

  constructor(placer: Placer, pageBytes: number) {
    this.#placer = placer
    this.#pageBytes = pageBytes
  }

  get status(): number {
    return this.#placer.status
  }

  place(firstPage: number, pageCount: number, address: number): number {
    let done = 0
    while (
      done < pageCount &&
      this.#placer.place(firstPage + done, 1, address + done * this.#pageBytes) === 1
    )
      done++
    return done
  }

  placeZero(firstPage: number, pageCount: number): number {
    let done = 0
    while (done < pageCount && this.#placer.placeZero(firstPage + done, 1) === 1) done++
    return done
  }

  wake(page: number): void {
    this.#placer.wake(page)
  }

  lose(firstPage: number, pageCount: number): void {
    this.#placer.lose(firstPage, pageCount)
  }
}
