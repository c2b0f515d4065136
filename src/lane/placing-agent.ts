/** Runs the prefault lane's errands in a thread of its own: the second hand that places a long run. */
import type { Errand } from '../fault/errand.ts'
import { UffdPlacer } from '../fault/uffd-placer.ts'
import { Userfaultfd } from '../fault/userfaultfd.ts'
import type { Board } from './board.ts'

export class PlacingAgent {
  readonly role = 'placing'
  readonly #errand: Errand
  readonly #board: Board
  #userfaultfd = -1
  #placer: UffdPlacer | undefined

  constructor(errand: Errand, board: Board) {
    this.#errand = errand
    this.#board = board
  }

  doWork(): number {
    const errand = this.#errand
    if (!errand.tryTake()) return 0
    // Regions are read from the board each time: only the descriptor makes it another client's placer.
    if (!this.#placer || errand.userfaultfd !== this.#userfaultfd) {
      this.#userfaultfd = errand.userfaultfd
      this.#placer = new UffdPlacer(new Userfaultfd(this.#userfaultfd), this.#board.regions)
    }
    const placed = this.#placer.place(errand.firstPage, errand.pageCount, errand.address)
    errand.finish(placed, this.#placer.status)
    return 1
  }

  hasNews(): boolean {
    return this.#errand.isGiven
  }

  /** Its doorbell's futex is its sleep. */
  park(): void {}
}
