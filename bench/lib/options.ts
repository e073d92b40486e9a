/** The command line that all benchmarks share. */
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** How long each contender is measured, all its rounds together. */
  readonly seconds: number;
  /** Where the results go as JSON, besides the table on standard output. */
  readonly json: string | undefined;
  /** Where the gateway leaves its CPU profile. Only the gateway is measured then, and nothing compared. */
  readonly profile: string | undefined;
}

/** Reads the command line; a wrong one ends the process with a sentence. */
export function readOptions(): BenchOptions {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '10' },
      json: { type: 'string' },
      profile: { type: 'string' },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0 && seconds <= 600)) throw new Error('--seconds must be a number from 0 to 600.');
  return { seconds, json: values.json, profile: values.profile };
}
