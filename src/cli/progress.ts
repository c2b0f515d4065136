/** Progress of a long command on standard error: one line that changes on a terminal, a line for each step elsewhere. */

export class Progress {
  readonly #isTerminal = process.stderr.isTTY === true
  #step = ''

  /** What follows the first colon changes within a step; only a terminal shows it change. */
  tell(text: string): void {
    if (this.#isTerminal) {
      process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`)
      return
    }
    const step = text.split(':')[0] as string
    if (step !== this.#step) process.stderr.write(`${step}\n`)
    this.#step = step
  }

  /** Takes the line away. */
  end(): void {
    if (this.#isTerminal) process.stderr.write('\r\x1b[K')
  }
}
