#!/usr/bin/env node
/** `talos`: everything that is done with the gateway from a shell. */
import { Command } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { configCommand } from './commands/config.ts';
import { demoCommand } from './commands/demo.ts';
import { grantCommand } from './commands/grant.ts';
import { inspectCommand } from './commands/inspect.ts';
import { keysCommand } from './commands/keys.ts';
import { quickstartCommand } from './commands/quickstart.ts';
import { serveCommand } from './commands/serve.ts';
import { verifyCommand } from './commands/verify.ts';
import { exitingWithUsageCode } from './usage-error.ts';

const program = exitingWithUsageCode(
  new Command('talos').description('The gateway between AI agents and the tools they use.').version(manifest.version),
);

for (const add of [
  serveCommand,
  demoCommand,
  keysCommand,
  grantCommand,
  inspectCommand,
  verifyCommand,
  configCommand,
  quickstartCommand,
]) {
  add(program);
}
for (const command of program.commands) exitingWithUsageCode(command);

await program.parseAsync();
