/** The crash suite: four gateways on one database under load while everything around them fails. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/crash/**/*.crash.ts'],
    hookTimeout: 120_000,
  },
});
