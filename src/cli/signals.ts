/** Leaving in order: SIGINT and SIGTERM stop once, and what cannot be stopped in time does not keep the process. */

/** A stop takes one bounded park of each thread; whoever asked is promised an end within a second. */
export const STOP_MS_MAX = 900
const TURN_MS = 100

/**
 * Turns SIGINT and SIGTERM into one orderly stop. Further signals change nothing: leaving sooner would leave the
 * socket's file behind.
 */
export function onceStopped(stop: () => Promise<void>, stopMsMax = STOP_MS_MAX): void {
  let isStopping = false
  const handle = () => {
    if (isStopping) return
    isStopping = true
    // A thread inside a system call survives process.exit(); nothing survives SIGKILL. Counted in turns of the
    // event loop: where this thread itself gets no processor, the others have had no time to stop either.
    let turnsLeft = stopMsMax / TURN_MS
    const watch = setInterval(() => {
      if (--turnsLeft > 0) return
      say(`faultlane: a thread did not stop within ${stopMsMax} ms; killing this process`)
      process.kill(process.pid, 'SIGKILL')
    }, TURN_MS).unref()
    void stop().finally(() => clearInterval(watch))
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, handle)
  // Node gives the signals their usual effect back while it clears up, and one more of them would be our end instead of the exit code.
  process.once('exit', (code) => process.exit(code))
}

/** A reader of our messages that has gone away is no reason to stop serving pages. */
export function surviveDeafReaders(): void {
  process.stderr.on('error', () => {})
}

export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}
