import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/postgres.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Many tests wait for deadlines of the gateway, which a machine that stands still for seconds breaks for anybody.
    // `scripts/test-summary.mjs` names every test that needed a second attempt.
    retry: process.env['CI'] ? 2 : 0,
  },
});
