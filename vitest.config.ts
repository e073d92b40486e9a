import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/postgres.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Most tests wait for something rather than work, so two at a time take half as long, on two cores as well.
    maxWorkers: 2,
    // Many tests wait for deadlines of the gateway, which a machine that stands still for seconds breaks for anybody.
    // `scripts/test-summary.mjs` names every test that needed a second attempt.
    retry: process.env['CI'] ? 2 : 0,
  },
});
