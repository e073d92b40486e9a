import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/scratch.ts', 'test/support/postgres.ts'],
    testTimeout: 60_000,
    // What is waited for comes later on a busy machine; how soon it comes is not what tests are about.
    expect: { poll: { timeout: 15_000 } },
    hookTimeout: 60_000,
    // Most tests wait for something rather than work, so three at a time take less, on two cores as well.
    maxWorkers: 3,
    // Modules keep no state that a test could leave behind, and loading them is a third of the work of a run.
    isolate: false,
    sequence: { sequencer: LongestFirst },
    // Many tests wait for deadlines of the gateway, which a machine that stands still for seconds breaks for anybody.
    // `scripts/test-summary.mjs` names every test that needed a second attempt.
    retry: process.env['CI'] ? 2 : 0,
  },
});
