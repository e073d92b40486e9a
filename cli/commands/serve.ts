/** `talos serve`: the gateway in the foreground, as `npm start` runs it. */
import type { Command } from 'commander';
import { serve } from '../../src/serve.ts';

export function serveCommand(program: Command): void {
  program
    .command('serve')
    .description('Run the gateway in the foreground, configured by talos.config.yaml and the environment.')
    .action(async () => {
      process.exitCode = await serve();
    });
}
