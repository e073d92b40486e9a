/** `talos config`: shows the configuration as a start would take it, without secrets, or why a start would refuse it. */
import type { Command } from 'commander';
import { loadConfig } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { describeAsJson, describeAsYaml } from '../../src/config/describe.ts';
import { readEnvironment } from '../../src/config/env.ts';

interface Options {
  readonly json?: true;
}

/** Adds the command to `program`. Warnings and problems go to the error stream; problems make the exit code 1. */
export function configCommand(program: Command): void {
  program
    .command('config')
    .description('Show the effective configuration, without secrets, and where each value comes from.')
    .option('--json', 'answer as JSON')
    .action((options: Options, command: Command) => showConfig(options, command));
}

function showConfig(options: Options, command: Command): void {
  const { writeOut, writeErr } = command.configureOutput();
  try {
    const loaded = loadConfig({ env: readEnvironment(), cwd: process.cwd() });
    for (const warning of loaded.warnings) writeErr?.(`warning: ${warning}\n`);
    writeOut?.(options.json ? describeAsJson(loaded) : describeAsYaml(loaded));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) writeErr?.(`${problem}\n`);
    process.exitCode = 1;
  }
}
