/** Suites for a Linux machine with root that take the system itself apart. They run by hand, one after the other. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/crash/**/*.demand.ts'],
    fileParallelism: false,
    // What is waited for comes later on a busy machine; how soon it comes is not what tests are about.
    expect: { poll: { timeout: 15_000 } },
    hookTimeout: 120_000,
  },
});
