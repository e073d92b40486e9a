/**
 * Makes the data folder of the server on the first start. All of it happens under another name and reaches the disk
 * before the rename, so a kill or a power cut leaves either no data folder or a whole one.
 */
import { chown, mkdtemp, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { giveTo, initdbAccount } from './account.ts';
import type { Binaries } from './binaries.ts';
import { renameDurably } from './durable-file.ts';
import { EmbeddedPostgresError, errorCode, outputFailure, useDatabaseUrl } from './failure.ts';
import type { Home } from './home.ts';
import type { RunAs } from './run-as.ts';
import { runTool, type ToolRun } from './run-tool.ts';

/** The superuser of the embedded server. There is no password: only the private socket folder leads to it. */
export const embeddedUser = 'talos';
export const embeddedDatabase = 'postgres';

const draftPrefix = 'postgres.new-';

/**
 * Leaves `home.dataFolder` ready for `binaries`; true when it was made now.
 * @throws EmbeddedPostgresError `other_version`, `not_a_store`, `disk_full`, `unwritable` or `no_account`
 */
export async function ensureDataFolder(home: Home, binaries: Binaries, signal?: AbortSignal): Promise<boolean> {
  await removeDrafts(home.folder);
  const version = await readVersion(home.dataFolder);
  if (version !== undefined) {
    requireSameMajor(version, binaries.version, home.dataFolder);
    await adopt(home);
    return false;
  }
  await removeEmpty(home.dataFolder);
  await makeDataFolder(home, binaries, signal);
  return true;
}

/** A data folder that root has copied or restored belongs to root, as whom the server does not run. */
async function adopt({ dataFolder, runAs }: Home): Promise<void> {
  if (runAs.uid !== undefined && (await stat(dataFolder)).uid !== runAs.uid) await giveTo(runAs, dataFolder);
}

async function makeDataFolder(home: Home, binaries: Binaries, signal?: AbortSignal): Promise<void> {
  const draft = await mkdtemp(join(home.folder, draftPrefix));
  const runAs = await initdbAccount(home.runAs);
  const run = (args: readonly string[], as: RunAs): Promise<void> =>
    runOrFail({ command: binaries.initdb, args: ['-D', draft, ...args], runAs: as, signal }, home.folder);
  try {
    if (runAs.uid !== undefined && runAs.gid !== undefined) await chown(draft, runAs.uid, runAs.gid);
    await run(initialisation, runAs);
    if (runAs !== home.runAs) await giveTo(home.runAs, draft);
    await run(['--sync-only'], home.runAs);
    await renameDurably(draft, home.dataFolder);
  } catch (error) {
    await removeFolder(draft).catch(() => undefined);
    throw error;
  }
}

// Text compares by code point, whatever the locale of the machine. The later --sync-only makes up for --no-sync.
const initialisation = [
  `--username=${embeddedUser}`,
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--auth-local=trust',
  '--auth-host=reject',
  '--no-instructions',
  '--no-sync',
];

async function runOrFail(run: ToolRun, folder: string): Promise<void> {
  const { exitCode, spawnError, output } = await runTool(run);
  if (exitCode !== 0) throw outputFailure(spawnError === undefined ? output : `initdb: error: ${spawnError}`, folder);
}

function requireSameMajor(found: string, version: string, dataFolder: string): void {
  if (found === version.split('.')[0]) return;
  throw new EmbeddedPostgresError(
    'other_version',
    `The data folder ${dataFolder} was made by PostgreSQL ${found}, and this gateway brings ${version}: point ` +
      `DATABASE_URL at a PostgreSQL ${found} server that runs on it, or move the data with pg_dump of the version that ` +
      'wrote it, or set TALOS_DATA_DIR to another folder to begin with an empty database.',
  );
}

async function readVersion(dataFolder: string): Promise<string | undefined> {
  try {
    return (await readFile(join(dataFolder, 'PG_VERSION'), 'utf8')).trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** A folder with that name but without a database is only replaced when there is nothing in it. */
async function removeEmpty(dataFolder: string): Promise<void> {
  try {
    await rmdir(dataFolder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    if (errorCode(error) !== 'ENOTEMPTY') throw error;
    throw new EmbeddedPostgresError(
      'not_a_store',
      `The folder ${dataFolder} holds something else than a PostgreSQL database: move it away, or set TALOS_DATA_DIR ` +
        `to another folder. ${useDatabaseUrl}`,
    );
  }
}

/** What a start that was killed left behind. Its `initdb` may still be at work, hence the retries. */
async function removeDrafts(folder: string): Promise<void> {
  const drafts = (await readdir(folder)).filter((name) => name.startsWith(draftPrefix));
  await Promise.all(drafts.map((name) => removeFolder(join(folder, name))));
}

function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
