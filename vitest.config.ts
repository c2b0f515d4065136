import { defineConfig } from 'vitest/config'

// Worker threads run the built files, so `npm test` builds first (pretest). Two cores: few files at a time.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
