import { spawnSync } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  allocateRehearsals,
  awaitReady,
  beginWaiting,
  endWaiting,
  withEagerCompiler,
  withFeedback,
} from '../../src/workers/eager-compiler.ts'

describe('withEagerCompiler', () => {
  it('uses no setting that this engine does not know: it would say so on standard error', () => {
    const module = pathToFileURL('dist/workers/eager-compiler.js')
    const code = `import { allocateRehearsals, withEagerCompiler, withFeedback } from '${module}'
      withFeedback(allocateRehearsals(), () => console.log('first'))
      withEagerCompiler(allocateRehearsals(), () => console.log('last'))`
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(stdout).toBe('first\nlast\n')
  })

  it('counts the rehearsals that run, whatever ends them', () => {
    const rehearsals = allocateRehearsals()
    const fails = () =>
      withEagerCompiler(rehearsals, () => {
        withFeedback(rehearsals, () => expect(rehearsals[0]).toBe(2))
        expect(rehearsals[0]).toBe(1)
        throw new RangeError('no such road')
      })
    expect(fails).toThrow('no such road')
    expect(rehearsals[0]).toBe(0)
  })
})

describe('setCompiling', () => {
  it('off: a hot function is not compiled any more; on again: it is', () => {
    const module = pathToFileURL('dist/workers/eager-compiler.js')
    // Of V8: %GetOptimizationStatus, bit 4: optimised, with Maglev or with Turbofan.
    const code = `import { setCompiling } from '${module}'
      const isCompiled = (work) => (%GetOptimizationStatus(work) & 16) !== 0
      const compilesSoon = (work) => {
        let sum = 0
        for (const endMs = performance.now() + 1500; performance.now() < endMs && !isCompiled(work); ) for (let i = 0; i < 1000; i++) sum += work(i)
        return isCompiled(work)
      }
      setCompiling(false)
      const off = compilesSoon((x) => (x * 31) | 0)
      setCompiling(true)
      console.log(off, compilesSoon((x) => (x * 37) | 0))`
    const args = ['--allow-natives-syntax', '--input-type=module', '-e', code]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(stdout).toBe('false true\n')
  })
})

describe('awaitReady', () => {
  it('ends when the program is ready, and when there is work', () => {
    const rehearsals = allocateRehearsals()
    awaitReady(rehearsals, () => false)
    beginWaiting(rehearsals)
    beginWaiting(rehearsals)
    let looks = 0
    awaitReady(rehearsals, () => ++looks === 3)
    expect(looks).toBe(3)
    endWaiting(rehearsals)
    awaitReady(rehearsals, () => ++looks === 5) // One of two is.
    expect(looks).toBe(5)
    endWaiting(rehearsals)
    awaitReady(rehearsals, () => false)
  })
})
