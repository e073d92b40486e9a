/** A program with the capability commands, for tests to run as a process of its own. */
import { Command } from 'commander';
import { delegateCommand } from '../../cli/commands/delegate.ts';
import { grantCommand } from '../../cli/commands/grant.ts';
import { inspectCommand } from '../../cli/commands/inspect.ts';
import { keysCommand } from '../../cli/commands/keys.ts';
import { replayCommand } from '../../cli/commands/replay.ts';
import { revokeCommand } from '../../cli/commands/revoke.ts';
import { exitingWithUsageCode } from '../../cli/usage-error.ts';

const program = exitingWithUsageCode(new Command('talos'));
keysCommand(program);
grantCommand(program);
delegateCommand(program);
revokeCommand(program);
replayCommand(program);
inspectCommand(program);
await program.parseAsync();
