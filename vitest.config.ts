import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/postgres.ts'],
    testTimeout: 60_000,
    // What is waited for comes later on a busy machine; how soon it comes is not what tests are about.
    expect: { poll: { timeout: 15_000 } },
    hookTimeout: 60_000,
    // Most tests wait for something rather than work, so two at a time take half as long, on two cores as well.
    maxWorkers: 2,
    // Many tests wait for deadlines of the gateway, which a machine that stands still for seconds breaks for anybody.
    // `scripts/test-summary.mjs` names every test that needed a second attempt.
    retry: process.env['CI'] ? 2 : 0,
  },
});
