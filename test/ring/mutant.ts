/** Loads a built module with one line of it broken, to show that the explorer would have found the bug. */
import { readFileSync } from 'node:fs'

const built = new URL('../../dist/ring/', import.meta.url)

export async function loadMutant<Module>(file: string, from: string, to: string): Promise<Module> {
  const source = readFileSync(new URL(file, built), 'utf8')
  if (source.split(from).length !== 2) throw new Error(`${file} does not hold exactly once: ${from}`)
  const mutated = source
    .replace(from, to)
    .replace(/from '(\.\.?\/[^']+)'/g, (_all, path: string) => `from '${new URL(path, built).href}'`)
  return import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(mutated)}`)
}
