/** Holds what DESIGN.md promises of the layout: imports run one way, each gate has one room, no file is dead or huge. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const src = fileURLToPath(new URL('../src/', import.meta.url))
const files = readdirSync(src, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.ts'))
  .sort()
const text = new Map(files.map((file) => [file, readFileSync(join(src, file), 'utf8')]))

/** A room may import from rooms further down, never from its neighbours on the same line. */
const LEVELS = [
  ['cli', 'index.ts'],
  ['measure', 'bench-kit'],
  ['daemon', 'report'],
  ['workers'],
  ['lane'],
  ['prefault', 'fault', 'transport'],
  ['memory', 'ring'],
  ['native'],
  ['levels.ts'],
  ['config.ts', 'clock.ts', 'errors.ts'],
]
/** The only room that may name it. A file is a room of its own. */
const GATES: [string, string][] = [
  ['koffi', 'native'],
  ['node:worker_threads', 'workers'],
  ['node:http', 'daemon'],
  ['piscina', 'workers'],
  ['commander', 'cli'],
]
const TRANSPORTS = ['tcp', 'rdma-sim', 'shm']
/** Longer than a file of ours should be, and why it is one idea all the same. */
const LONG: Record<string, string> = {
  'fault/handshake-parse.ts': 'one grammar, its dialects and its refusals side by side',
  'lane/demand-lane.ts': 'every way of a demand page, from fault to placed',
  'lane/prefault-lane.ts': 'every way of a prefaulted page, from guess to told',
  'transport/tcp/connection.ts': 'one connection from hello to its last reply',
}
const LINES_MAX = 300
/** Where the program begins, and what only the package's users, tests, benches and the demo begin with. */
const ENTRIES = [
  'cli/main.ts',
  'index.ts',
  'transport/conformance.ts',
  'daemon/lazy.ts',
  'fault/client.ts',
  'fault/rehearsal.ts',
]

const roomOf = (file: string) => file.split('/')[0] as string
const levelOf = (file: string) => LEVELS.findIndex((rooms) => rooms.includes(roomOf(file)))

/** Code without comments, and without strings where `keepStrings` is false. */
function codeOf(file: string, keepStrings: boolean): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/(?![/*])(?:\\.|[^/\\\n])+\/[dgimsuy]+/g
  return (text.get(file) as string).replace(token, (part) =>
    keepStrings && !part.startsWith('//') && !part.startsWith('/*') ? part : ' ',
  )
}

interface Import {
  readonly file: string
  /** What it names: a path below src/ for our own files, a package otherwise. */
  readonly target: string
  readonly isOurs: boolean
}
const imports: Import[] = files.flatMap((file) => {
  const code = codeOf(file, true)
  const named = [...code.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)'([^']+)'/g)].map(
    ([, name]) => name as string,
  )
  // Files that are started, not imported, are named by their built path.
  const started = [...code.matchAll(/'(\.\.?\/[^'\s]+\.js)'/g)].map(([, name]) => name as string)
  return [...named, ...started].map((name) => {
    const isOurs = name.startsWith('.')
    const target = isOurs ? normalize(join(dirname(file), name)) : name
    return { file, target: target.replace(/\.js$/, '.ts'), isOurs }
  })
})
const show = (found: Import[]) => found.map(({ file, target }) => `${file} → ${target}`)

describe('src', () => {
  it('knows every room', () => {
    expect(files.filter((file) => levelOf(file) === -1)).toEqual([])
    expect(imports.length).toBeGreaterThan(100) // Or the test has stopped seeing them.
  })

  it('imports one way', () => {
    const wrong = imports.filter(({ file, target, isOurs }) => {
      if (!isOurs || !existsSync(join(src, target))) return false
      if (roomOf(file) === roomOf(target)) return false
      return levelOf(target) <= levelOf(file)
    })
    expect(show(wrong)).toEqual([])
  })

  it('imports only files that exist', () => {
    const built = /^\.\.\/dist\// // A worker under a test runner runs what the build made.
    expect(
      show(imports.filter(({ target, isOurs }) => isOurs && !built.test(target) && !text.has(target))),
    ).toEqual([])
  })

  it.each(GATES)('names %s only in %s', (name, room) => {
    const users = imports.filter(({ target, isOurs }) => !isOurs && target === name)
    expect(show(users.filter(({ file }) => roomOf(file) !== room))).toEqual([])
    const anywhere = files.filter((file) => codeOf(file, true).includes(`'${name}'`))
    expect(anywhere.filter((file) => roomOf(file) !== room)).toEqual([])
  })

  it('uses process only in cli, and to ask which engine this is', () => {
    const asksForEngine = 'workers/eager-compiler.ts'
    const users = files.filter((file) =>
      /(?<![.\w#])process\s*[.[]|globalThis\.process|'node:process'/.test(codeOf(file, false)),
    )
    expect(users.filter((file) => roomOf(file) !== 'cli')).toEqual([asksForEngine])
    expect(users.length).toBeGreaterThan(0)
  })

  it('keeps the transports apart', () => {
    const kindOf = (file: string) => TRANSPORTS.find((kind) => file.startsWith(`transport/${kind}/`))
    const wrong = imports.filter(({ file, target }) => {
      const [from, to] = [kindOf(file), kindOf(target)]
      return from !== undefined && to !== undefined && from !== to
    })
    expect(show(wrong)).toEqual([])
  })

  it('shows the lanes only the interface of the transports, and no lane the other', () => {
    const fromLanes = imports.filter(({ file }) => roomOf(file) === 'lane')
    const transports = fromLanes.filter(({ target }) => target.startsWith('transport/'))
    expect(show(transports.filter(({ target }) => target !== 'transport/transport.ts'))).toEqual([])
    const [demand, prefault] = ['lane/demand-lane.ts', 'lane/prefault-lane.ts']
    const between = fromLanes.filter(
      ({ file, target }) =>
        (file === demand && target === prefault) || (file === prefault && target === demand),
    )
    expect(show(between)).toEqual([])
  })

  it('has no dead file', () => {
    const isRoot = (file: string) => ENTRIES.includes(file) || /^workers\/[^/]+\.worker\.ts$/.test(file)
    const reached = new Set(files.filter(isRoot))
    for (const file of reached) {
      for (const { file: from, target } of imports) if (from === file && text.has(target)) reached.add(target)
    }
    expect(files.filter((file) => !reached.has(file))).toEqual([])
    // A worker lives only through the role that spawns it.
    const roles = /type Role = ([^\n]+)/.exec(text.get('workers/thread.ts') as string)?.[1] ?? ''
    const workers = files.flatMap((file) => /^workers\/(.+)\.worker\.ts$/.exec(file)?.[1] ?? [])
    expect(workers.filter((role) => !roles.includes(`'${role}'`))).toEqual([])
  })

  it('has no long file without a reason', () => {
    const lines = (file: string) => (text.get(file) as string).split('\n').length - 1
    expect(files.filter((file) => lines(file) > LINES_MAX && LONG[file] === undefined)).toEqual([])
    expect(Object.keys(LONG).filter((file) => !text.has(file) || lines(file) <= LINES_MAX)).toEqual([])
  })
})
