/**
 * Where the database of a data folder lives. In the folder itself, unless root starts the gateway in a place that is
 * closed to others, where the account of the server cannot reach it; then in a folder of the system, which a small text
 * file in the data folder names. Invariant: a data folder never silently begins with an empty database when it had one.
 */
import { createHash } from 'node:crypto';
import { chmod, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { canEnter, serverAccount } from './account.ts';
import { renameDurably, writeDurably } from './durable-file.ts';
import type { EmbeddedLog } from './embedded-log.ts';
import { EmbeddedPostgresError, errorCode } from './failure.ts';
import { makeFolder } from './make-folder.ts';
import type { RunAs } from './run-as.ts';

export interface Home {
  /** Holds the database in `postgres` and, where needed, a copy of the programs. */
  readonly folder: string;
  readonly dataFolder: string;
  readonly runAs: RunAs;
}

export interface HomeSearch {
  /** The data folder with all links resolved; this process holds its lock. */
  readonly dataDir: string;
  /** Where root keeps what it cannot keep in the data folder. */
  readonly systemDir: string;
  readonly clock: Clock;
  readonly log: EmbeddedLog;
}

const pointerFile = 'postgres-location.txt';
const ownerFile = 'data-folder.txt';

/** @throws EmbeddedPostgresError `lost` or `not_a_store`; a system error when a folder cannot be made */
export async function findHome(search: HomeSearch): Promise<Home> {
  const named = await readLine(join(search.dataDir, pointerFile));
  if (named !== undefined) {
    await confirmHome(named, search.dataDir);
    return openHome(named, search.dataDir);
  }
  const home = await openHome(search.dataDir, search.dataDir);
  if (await canEnter(home.runAs, home.folder)) return home;
  const folder = await makeSystemHome(search);
  return openHome(folder, search.dataDir);
}

async function openHome(folder: string, dataDir: string): Promise<Home> {
  const dataFolder = join(folder, 'postgres');
  if (folder !== dataDir) await bringAlong(join(dataDir, 'postgres'), dataFolder);
  return { folder, dataFolder, runAs: await serverAccount(dataFolder) };
}

/** A database made while the data folder was still open moves to where its account can reach it. */
async function bringAlong(from: string, to: string): Promise<void> {
  if (!(await exists(from)) || (await exists(to))) return;
  try {
    await renameDurably(from, to);
  } catch (error) {
    if (errorCode(error) !== 'EXDEV') throw error;
    throw new EmbeddedPostgresError(
      'not_a_store',
      `The database in ${from} can no longer be reached by the account that runs it: open its parent folders ` +
        `(chmod o+x), or move it to ${to}.`,
      error,
    );
  }
}

async function confirmHome(folder: string, dataDir: string): Promise<void> {
  const owner = await readLine(join(folder, ownerFile));
  if (owner === undefined) throw lost(folder, dataDir);
  if (owner === dataDir) return;
  const rival = await readLine(join(owner, pointerFile)).catch(() => undefined);
  if (rival === folder) throw copied(folder, dataDir, owner);
  await writeDurably(join(folder, ownerFile), `${dataDir}\n`);
}

/** The pointer is written last: once it exists, so does the folder it names. */
async function makeSystemHome({ dataDir, systemDir, clock, log }: HomeSearch): Promise<string> {
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const folder = join(systemDir, name);
  await setAside(folder, clock, log);
  await makeEnterable(systemDir);
  await makeEnterable(folder);
  await writeDurably(join(folder, ownerFile), `${dataDir}\n`);
  await writeDurably(join(dataDir, pointerFile), `${folder}\n`);
  log('warn', `The data folder ${dataDir} is closed to other users, so root keeps its database in ${folder}.`);
  return folder;
}

/** A database without a data folder that names it: the folder was deleted to begin anew, so it is kept but not used. */
async function setAside(folder: string, clock: Clock, log: EmbeddedLog): Promise<void> {
  if (!(await exists(join(folder, 'postgres')))) return;
  const kept = `${folder}.left-${clock.now()}`;
  await rename(folder, kept);
  log('warn', `A database of an earlier data folder was left behind; it is kept in ${kept} and can be deleted.`);
}

async function makeEnterable(folder: string): Promise<void> {
  if (await exists(folder)) return;
  await makeFolder(folder, 0o711);
  // The umask of root may have closed it again.
  await chmod(folder, 0o711);
}

async function readLine(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function lost(folder: string, dataDir: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'lost',
    `The database of ${dataDir} was kept in ${folder}, which is gone: put it back, or delete ` +
      `${join(dataDir, pointerFile)} to begin with an empty one.`,
  );
}

function copied(folder: string, dataDir: string, owner: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'in_use',
    `${dataDir} is a copy of ${owner}, whose database in ${folder} it may not share: delete ` +
      `${join(dataDir, pointerFile)} to begin with an empty one.`,
  );
}
