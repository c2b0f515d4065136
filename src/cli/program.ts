/** How this very program is started again as another process. */
import { fileURLToPath } from 'node:url'
import type { Program } from '../measure/child.ts'

export function thisProgram(): Program {
  return { command: process.execPath, args: [fileURLToPath(new URL('../cli/main.js', import.meta.url))] }
}
