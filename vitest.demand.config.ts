/** Suites for a Linux machine with root that take the system itself apart. They run by hand, one after the other. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/crash/**/*.demand.ts'],
    fileParallelism: false,
    hookTimeout: 120_000,
  },
});
