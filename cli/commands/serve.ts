/** `talos serve`: the gateway in the foreground, as `npm start` runs it. */
import type { Command } from 'commander';

export function serveCommand(program: Command): void {
  program
    .command('serve')
    .description('Run the gateway in the foreground, configured by talos.config.yaml and the environment.')
    .action(async () => {
      // The whole gateway; the other commands start faster without it.
      const { serve } = await import('../../src/serve.ts');
      process.exitCode = await serve();
    });
}
