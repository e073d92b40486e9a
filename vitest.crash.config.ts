/** The crash suite: four gateways on one database under load while everything around them fails. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/crash/**/*.crash.ts'],
    // What is waited for comes later on a busy machine; how soon it comes is not what tests are about.
    expect: { poll: { timeout: 15_000 } },
    hookTimeout: 120_000,
  },
});
