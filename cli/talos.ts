#!/usr/bin/env node
/** `talos`: everything that is done with the gateway from a shell. */
import { Command } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { apiKeysCommand } from './commands/api-keys.ts';
import { approvalsCommand } from './commands/approvals.ts';
import { configCommand } from './commands/config.ts';
import { delegateCommand } from './commands/delegate.ts';
import { demoCommand } from './commands/demo.ts';
import { eraseCommand } from './commands/erase.ts';
import { exportCommand } from './commands/export.ts';
import { fsckCommand } from './commands/fsck.ts';
import { grantCommand } from './commands/grant.ts';
import { inspectCommand } from './commands/inspect.ts';
import { keysCommand } from './commands/keys.ts';
import { logCommand } from './commands/log.ts';
import { migrateCommand } from './commands/migrate.ts';
import { pinsCommand } from './commands/pins.ts';
import { policiesCommand } from './commands/policies.ts';
import { pruneCommand } from './commands/prune.ts';
import { quickstartCommand } from './commands/quickstart.ts';
import { replayCommand } from './commands/replay.ts';
import { revokeCommand } from './commands/revoke.ts';
import { secretsCommand } from './commands/secrets.ts';
import { serveCommand } from './commands/serve.ts';
import { serversCommand } from './commands/servers.ts';
import { tailCommand } from './commands/tail.ts';
import { verifyCommand } from './commands/verify.ts';
import { witnessCommand } from './commands/witness.ts';
import { exitingWithUsageCode } from './usage-error.ts';

const program = exitingWithUsageCode(
  new Command('talos').description('The gateway between AI agents and the tools they use.').version(manifest.version),
);

for (const add of [
  serveCommand,
  demoCommand,
  keysCommand,
  grantCommand,
  delegateCommand,
  revokeCommand,
  replayCommand,
  inspectCommand,
  verifyCommand,
  exportCommand,
  tailCommand,
  migrateCommand,
  fsckCommand,
  pruneCommand,
  eraseCommand,
  logCommand,
  witnessCommand,
  apiKeysCommand,
  secretsCommand,
  serversCommand,
  pinsCommand,
  policiesCommand,
  approvalsCommand,
  configCommand,
  quickstartCommand,
]) {
  add(program);
}
for (const command of program.commands) exitingWithUsageCode(command);

await program.parseAsync();
