/** The database that the configuration names, for commands that speak with it and not with a gateway. */
import { type Config, loadConfig, type Secrets } from '../src/config/config.ts';
import { ConfigError } from '../src/config/config-error.ts';
import { readEnvironment } from '../src/config/env.ts';
import { systemClock } from '../src/core/clock.ts';
import { describeError } from '../src/core/errors.ts';
import type { DatabaseAddress } from '../src/storage/db.ts';
import { startEmbeddedPostgres } from '../src/storage/embedded/start.ts';
import { UsageError } from './usage-error.ts';

export interface OpenedDatabase {
  readonly config: Config;
  readonly secrets: Secrets;
  readonly database: DatabaseAddress;
  /** Runs when the work is done, the last one first. */
  readonly onEnd: (close: () => Promise<unknown> | unknown) => void;
}

/**
 * Does `work` with the database that is configured or, without one, with the embedded one, which is started for it: its
 * gateway must be stopped. What fails makes the exit code `failureCode` and one sentence on stderr.
 */
export async function withDatabase(work: (opened: OpenedDatabase) => Promise<void>, failureCode = 1): Promise<void> {
  const { config, secrets } = configuration();
  const closers: (() => Promise<unknown> | unknown)[] = [];
  const onEnd = (close: () => Promise<unknown> | unknown) => void closers.push(close);
  try {
    const database = await openDatabase(config, secrets, onEnd);
    await work({ config, secrets, database, onEnd });
  } catch (error) {
    if (error instanceof UsageError) throw error;
    console.error(`error: ${describeError(error)}`);
    process.exitCode = failureCode;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

function configuration(): { config: Config; secrets: Secrets } {
  try {
    return loadConfig({ env: readEnvironment(), cwd: process.cwd() });
  } catch (error) {
    if (error instanceof ConfigError) throw new UsageError(error.problems.join('\n'));
    throw error;
  }
}

async function openDatabase(
  { dataDir }: Config,
  { databaseUrl }: Secrets,
  onEnd: OpenedDatabase['onEnd'],
): Promise<DatabaseAddress> {
  if (databaseUrl !== undefined) return { url: databaseUrl.reveal() };
  const embedded = await startEmbeddedPostgres({ dataDir, clock: systemClock, log: () => undefined });
  onEnd(() => embedded.stop());
  return embedded.connection;
}
