/** A program with the commands about logs and witnesses, for tests to run as a process of its own. */
import { Command } from 'commander';
import { logCommand } from '../../cli/commands/log.ts';
import { witnessCommand } from '../../cli/commands/witness.ts';
import { exitingWithUsageCode } from '../../cli/usage-error.ts';

const program = exitingWithUsageCode(new Command('talos'));
logCommand(program);
witnessCommand(program);
for (const command of program.commands) exitingWithUsageCode(command);
await program.parseAsync();
