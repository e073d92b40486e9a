/**
 * One gateway a data folder. The kernel keeps the lock and drops it however the process ends, so a lock cannot go
 * stale. Node.js has no file locks of its own; its SQLite has, and an empty database in exclusive use is one.
 */
import { access, constants, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EmbeddedPostgresError, errorCode, useDatabaseUrl } from './failure.ts';

export interface DataLock {
  readonly release: () => Promise<void>;
}

const sqliteBusy = 5;

/**
 * Takes the lock of `dataDir`, an existing folder, or fails at once. `name` tells what is locked there.
 * @throws EmbeddedPostgresError `in_use`; a system error when the folder cannot be written
 */
export async function lockDataDir(dataDir: string, name = 'postgres'): Promise<DataLock> {
  await access(dataDir, constants.W_OK | constants.X_OK);
  const holder = join(dataDir, `${name}.lock.pid`);
  const database = await openExclusively(dataDir, name, holder);
  const release = async (): Promise<void> => {
    await rm(holder, { force: true }).catch(() => undefined);
    database.close();
  };
  try {
    await writeFile(holder, `${process.pid}\n`);
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

async function openExclusively(dataDir: string, name: string, holder: string): Promise<{ close: () => void }> {
  const { DatabaseSync } = await loadSqlite();
  const database = openDatabase(DatabaseSync, join(dataDir, `${name}.lock`));
  try {
    // Without a journal file nothing is ever written, so that a full disk does not matter here.
    database.exec('PRAGMA journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database.close();
    throw isBusy(error) ? await inUse(dataDir, holder) : error;
  }
}

function openDatabase(
  DatabaseSync: typeof import('node:sqlite').DatabaseSync,
  path: string,
): InstanceType<typeof DatabaseSync> {
  try {
    return new DatabaseSync(path);
  } catch (error) {
    throw Object.assign(new Error(`${path} cannot be opened`, { cause: error }), { code: 'EACCES' });
  }
}

async function loadSqlite(): Promise<typeof import('node:sqlite')> {
  try {
    return await import('node:sqlite');
  } catch (error) {
    if (errorCode(error) !== 'ERR_UNKNOWN_BUILTIN_MODULE') throw error;
    const sentence = `The embedded PostgreSQL needs Node.js 22.13 or newer, and this is ${process.version}.`;
    throw new EmbeddedPostgresError('unsupported_platform', `${sentence} ${useDatabaseUrl}`, error);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy;
}

async function inUse(dataDir: string, holder: string): Promise<EmbeddedPostgresError> {
  const pid = (await readFile(holder, 'utf8').catch(() => '')).trim();
  const who = pid === '' ? 'Another gateway' : `Another gateway (process ${pid})`;
  return new EmbeddedPostgresError(
    'in_use',
    `${who} uses the data folder ${dataDir}: stop it, or give this one a TALOS_DATA_DIR of its own.`,
  );
}
