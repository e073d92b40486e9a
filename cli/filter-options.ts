/** The options that choose records, the same for every command that reads some. */
import type { Command } from 'commander';
import { UsageError } from './usage-error.ts';

export interface FilterOptions {
  readonly session?: string;
  readonly correlation?: string;
  readonly outcome?: string;
  readonly eventType?: string;
  readonly agent?: string;
  readonly tool?: string;
  readonly server?: string;
}

export function filterOptions(command: Command): Command {
  return command
    .option('--session <id>', 'only records of this session')
    .option('--correlation <id>', 'only records with this correlation id')
    .option('--outcome <outcome>', 'only success, failure or denied')
    .option('--event-type <type>', 'only events of this type')
    .option('--agent <id>', 'only records of this agent')
    .option('--tool <name>', 'only records of this tool')
    .option('--server <id>', 'only records of this tool server');
}

const outcomes = ['success', 'failure', 'denied', 'OK', 'ERROR', 'DENY'];

/** The filter in the words of gateways. Throws a `UsageError` for an outcome that no record can have. */
export function filterOf(options: FilterOptions): Record<string, string> {
  const { outcome } = options;
  if (outcome !== undefined && !outcomes.includes(outcome)) {
    throw new UsageError('--outcome is success, failure or denied.');
  }
  const names: readonly (readonly [string, string | undefined])[] = [
    ['session_id', options.session],
    ['correlation_id', options.correlation],
    ['outcome', outcome],
    ['event_type', options.eventType],
    ['agent_id', options.agent],
    ['tool', options.tool],
    ['server_id', options.server],
  ];
  return Object.fromEntries(names.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
