/** What the user can put right: one clear sentence on stderr and exit code 2, never a stack trace. */
import type { Command } from 'commander';

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const exitCodeUsage = 2;

/** Makes every refusal of `program` exit with 2, the parser's own (an option that is missing) included. */
export function exitingWithUsageCode(program: Command): Command {
  return program.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : exitCodeUsage));
}

/** Wraps the action of a command, so that a `UsageError` ends it as above. */
export function reportingUsage<Args extends unknown[]>(
  command: Command,
  action: (...args: Args) => void | Promise<void>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      command.error(`error: ${error.message}`, { exitCode: exitCodeUsage, code: 'talos.usage' });
    }
  };
}
