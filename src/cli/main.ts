#!/usr/bin/env node
/**
 * Where the program begins. `attach` waits longest for its demand thread, so that one starts before anything else is
 * loaded, and is told what to do once the command line has been read.
 */
import { otherThreads } from '../native/threads.ts'
import { startThread } from '../workers/thread.ts'

const helpers = otherThreads()
const demandThread = process.argv[2] === 'attach' ? startThread('demand') : undefined
demandThread?.unref() // No reason to stay if the command line is refused.
const { runCommandLine } = await import('./command-line.ts')
await runCommandLine({ helpers, demandThread })
