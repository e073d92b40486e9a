/** A program with the `config` command alone, for the tests to start as a process of its own. */
import { Command } from 'commander';
import { configCommand } from '../../cli/commands/config.ts';

const program = new Command('talos');
configCommand(program);
await program.parseAsync();
