/** Turns SIGINT and SIGTERM into one orderly stop; a second signal ends the process at once. */
export function onceStopped(stop: (signal: string) => Promise<void> | void): void {
  let isStopping = false
  const handle = (signal: string) => {
    if (isStopping) process.exit(130)
    isStopping = true
    void stop(signal)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, handle)
}

export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}
