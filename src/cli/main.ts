#!/usr/bin/env node
/**
 * Where the program begins. `attach` waits longest for its demand thread, so that one starts before anything else is
 * loaded, and is told what to do once the command line has been read.
 */
import { otherThreads } from '../native/threads.ts'
import { startThread } from '../workers/thread.ts'

const helpers = otherThreads()
const demandThread = process.argv[2] === 'attach' ? startThread('demand') : undefined
const { runCommandLine } = await import('./command-line.ts')
await runCommandLine({ helpers, demandThread })
// If it has been told nothing, because the command line was refused: there is nothing to do. An end that it is not told of would
// meet it while it starts, and Node 20 has died of that (SIGTRAP).
demandThread?.postMessage(null)
