/**
 * Runs threads of shipped code through every interleaving of their accesses to shared memory.
 *
 * How: while it explores, the global `Atomics` is replaced by one whose every call is a step. A thread is a plain
 * synchronous function that is deterministic but for what its accesses return. To take one step of it, the
 * function is run again from its beginning: the accesses of its past return what they returned then and touch
 * nothing, the next one is done, and the one after that throws PAUSE. Two schedules that leave the same memory
 * and the same past of every thread have the same futures, so each such state is entered once (exact, nothing
 * is guessed), and the number of schedules is counted over the graph of states.
 *
 * Accesses to records go through `plain`, and are steps as well. Atomics.wait sleeps without a time limit: a
 * wake-up that is lost shows as a deadlock and not as a delay. What JavaScript's atomics promise (one total
 * order of all of them) is the explorer's order; weaker orders need not be explored, since none are used.
 */
const real = globalThis.Atomics
const PAUSE = Symbol('pause')

export interface Model {
  /** All shared memory. */
  readonly words: Int32Array
  /** Each builds its ends anew, and returns what it wants to be judged by. */
  readonly threads: readonly (() => unknown)[]
  /** Called at the end of every schedule with what the threads returned; real atomics again. Throws if it is wrong. */
  readonly check: (results: readonly unknown[]) => void
}

export interface Explored {
  readonly states: number
  readonly schedules: bigint
  readonly endings: number
}

interface Thread {
  readonly past: readonly unknown[]
  readonly pastId: number
  /** The word that the thread sleeps on. */
  readonly asleepOn: number | undefined
  readonly isDone: boolean
  readonly result: unknown
}

interface State {
  readonly memory: Int32Array
  readonly threads: readonly Thread[]
}

type Access = <T>(name: string, index: number, perform: () => T) => T
const direct: Access = (_name, _index, perform) => perform()

/** The access of the running thread: replayed, done, or refused by PAUSE. */
let access = direct
let sleep: (index: number) => never = () => {
  throw new Error('nothing is being explored')
}
let awaken: (index: number) => number = () => 0

/** How thread bodies reach records: as steps. */
export const plain = {
  read: (words: Int32Array, index: number): number => access('read', index, () => words[index]!),
  write: (words: Int32Array, index: number, value: number): void => {
    access('write', index, () => {
      words[index] = value
    })
  },
}

const two = (name: 'store' | 'exchange' | 'add' | 'sub' | 'and' | 'or' | 'xor') => {
  return (words: Int32Array, index: number, value: number) =>
    access(`${name} ${value}`, index, () => real[name](words, index, value))
}
const instrumented = {
  load: (words: Int32Array, index: number) => access('load', index, () => real.load(words, index)),
  store: two('store'),
  exchange: two('exchange'),
  add: two('add'),
  sub: two('sub'),
  and: two('and'),
  or: two('or'),
  xor: two('xor'),
  compareExchange: (words: Int32Array, index: number, expected: number, value: number) =>
    access(`compareExchange ${expected} ${value}`, index, () =>
      real.compareExchange(words, index, expected, value),
    ),
  wait: (words: Int32Array, index: number, value: number) =>
    access('wait', index, () => (words[index] === value ? sleep(index) : 'not-equal')),
  notify: (_words: Int32Array, index: number) => access('notify', index, () => awaken(index)),
}

/** Every schedule of the model's threads; throws with the schedule at the first that deadlocks, throws or fails the check. */
export function explore(model: Model, statesMax = 2_000_000): Explored {
  const schedulesFrom = new Map<string, bigint>()
  const memoryIds = new Map<string, number>()
  const pastIds = new Map<string, number>()
  const touched: number[] = [] // The words that any thread has reached so far; the others are as at the start.
  const trace: string[] = []
  let endings = 0
  const idOf = (ids: Map<string, number>, key: string): number => {
    const id = ids.get(key) ?? ids.size
    if (id === ids.size) ids.set(key, id)
    return id
  }

  /** The state after one more access of a thread (or none: up to before its first), from words that are `state`'s. */
  const step = (state: State, who: number, accessesMax: number): State => {
    const thread = state.threads[who]!
    const past = [...thread.past]
    const threads = [...state.threads]
    let cursor = 0
    let accesses = 0
    let asleepOn: number | undefined
    let isDone = false
    let result: unknown
    access = (name, index, perform) => {
      if (cursor < past.length) return past[cursor++] as never
      if (accesses === accessesMax) throw PAUSE
      accesses++
      if (!touched.includes(index)) touched.push(index)
      trace.push(`${who}: ${name} [${index}]`)
      past.push(perform())
      return past[cursor++] as never
    }
    sleep = (index) => {
      asleepOn = index
      throw PAUSE
    }
    awaken = (index) => {
      let count = 0
      for (const [i, other] of threads.entries()) {
        if (other.asleepOn !== index) continue
        const pastId = idOf(pastIds, `${other.pastId} ok`)
        threads[i] = { ...other, asleepOn: undefined, past: [...other.past, 'ok'], pastId }
        count++
      }
      return count
    }
    try {
      result = model.threads[who]!()
      isDone = true
    } catch (thrown) {
      if (thrown !== PAUSE) throw thrown
    }
    const news = past.slice(thread.past.length)
    const pastId = news.reduce<number>((id, value) => idOf(pastIds, `${id} ${value}`), thread.pastId)
    threads[who] = { past, pastId, asleepOn, isDone, result }
    return { memory: model.words.slice(), threads }
  }

  const schedules = (state: State): bigint => {
    const ids = state.threads.map((thread) => `${thread.pastId}${thread.asleepOn === undefined ? '' : 's'}`)
    const key = `${idOf(memoryIds, touched.map((index) => state.memory[index]).join())}|${ids.join()}`
    const known = schedulesFrom.get(key)
    if (known !== undefined) return known
    if (schedulesFrom.size >= statesMax) throw new Error(`more than ${statesMax} states`)
    let sum = 0n
    for (const [who, thread] of state.threads.entries()) {
      if (thread.isDone || thread.asleepOn !== undefined) continue
      model.words.set(state.memory)
      const traced = trace.length
      sum += schedules(step(state, who, 1))
      trace.length = traced
    }
    if (sum === 0n) {
      const asleep = state.threads.findIndex((thread) => !thread.isDone)
      if (asleep !== -1) throw new Error(`deadlock: thread ${asleep} sleeps for ever`)
      model.words.set(state.memory)
      globalThis.Atomics = real
      access = direct
      model.check(state.threads.map((thread) => thread.result))
      globalThis.Atomics = instrumented as unknown as Atomics
      endings++
      sum = 1n
    }
    schedulesFrom.set(key, sum)
    return sum
  }

  const initial = model.words.slice()
  globalThis.Atomics = instrumented as unknown as Atomics
  try {
    const unborn = { past: [], pastId: -1, asleepOn: undefined, isDone: false, result: undefined }
    let state: State = { memory: initial, threads: model.threads.map(() => unborn) }
    for (const who of model.threads.keys()) state = step(state, who, 0)
    return { schedules: schedules(state), states: schedulesFrom.size, endings }
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown)
    throw new Error(`${reason}\nafter the schedule:\n${trace.join('\n')}`, { cause: thrown })
  } finally {
    globalThis.Atomics = real
    access = direct
    model.words.set(initial)
  }
}
