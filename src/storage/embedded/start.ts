/**
 * The embedded store: a PostgreSQL server of our own in the data folder, reached through a private Unix socket,
 * started again when it ends by itself and never left running after a clean stop. The order of a start is told here;
 * the neighbouring files do the steps.
 */
import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import { prepareBinaries } from './binaries.ts';
import { type DataLock, lockDataDir } from './data-lock.ts';
import type { EmbeddedLog } from './embedded-log.ts';
import { folderFailure } from './failure.ts';
import { findHome } from './home.ts';
import { embeddedDatabase, embeddedUser, ensureDataFolder } from './initialise.ts';
import { type LaunchSetup, launchServer } from './launch.ts';
import { makeFolder } from './make-folder.ts';
import { findPackage } from './platform.ts';
import { serverPort } from './server-settings.ts';
import { makeSocketFolder, removeSocketFolder } from './socket-folder.ts';
import { type ExitListener, Supervisor } from './supervisor.ts';

export interface EmbeddedPostgresOptions {
  /** The gateway's data folder; it is made when absent. The database goes to `postgres` in it. */
  readonly dataDir: string;
  readonly log: EmbeddedLog;
  readonly clock: Clock;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal;
  /** The folder of the npm package with the programs; found by itself when absent. */
  readonly packageDir?: string;
  /** Where root keeps the database of a data folder that is closed to others. */
  readonly systemDir?: string;
  /** How many connections the server takes; enough for one gateway when absent. */
  readonly connectionsMax?: number;
}

export interface EmbeddedPostgres {
  readonly connection: {
    /** The folder of the socket. */
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly database: string;
  };
  /** Such as `18.4`. */
  readonly version: string;
  /** Called each time the server ends by itself; it is started again at the same address. */
  readonly onExit: (listener: ExitListener) => void;
  /** Resolves when no process is left and the data folder is free for another gateway. */
  readonly stop: () => Promise<void>;
}

/**
 * Resolves when the server accepts connections.
 * @throws EmbeddedPostgresError whose message is the one sentence to show; the reason of an aborted `signal`
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const packageDir = options.packageDir ?? findPackage();
  const given = resolve(options.dataDir);
  const undo: (() => Promise<void>)[] = [];
  try {
    const dataDir = await makeDataDir(given);
    const lock = await lockDataDir(dataDir);
    undo.unshift(lock.release);
    const { setup, version } = await prepare({ ...options, packageDir, dataDir });
    undo.unshift(() => removeSocketFolder(setup.socketFolder));
    const running = await launchServer(setup, options.signal ?? new AbortController().signal);
    return embeddedPostgres(setup, version, new Supervisor(setup, running), lock);
  } catch (error) {
    for (const step of undo) await step();
    options.signal?.throwIfAborted();
    throw folderFailure(error, given);
  }
}

interface Preparation extends EmbeddedPostgresOptions {
  readonly packageDir: string;
}

async function prepare(options: Preparation): Promise<{ setup: LaunchSetup; version: string }> {
  const { dataDir, clock, log, packageDir, signal, connectionsMax = bounds.embeddedConnectionsMax } = options;
  const home = await findHome({ dataDir, clock, log, systemDir: options.systemDir ?? '/var/lib/talos' });
  const binaries = await prepareBinaries({ packageDir, home: home.folder, runAs: home.runAs, log });
  const isNew = await ensureDataFolder(home, binaries, signal);
  if (isNew) log('info', `Made an empty database in ${home.dataFolder}.`);
  const socketFolder = await makeSocketFolder(home.runAs, home.folder);
  const setup = {
    postgres: binaries.postgres,
    dataFolder: home.dataFolder,
    socketFolder,
    connectionsMax,
    runAs: home.runAs,
    clock,
    log,
  };
  return { setup, version: binaries.version };
}

function embeddedPostgres(
  setup: LaunchSetup,
  version: string,
  supervisor: Supervisor,
  lock: DataLock,
): EmbeddedPostgres {
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await supervisor.stop();
    await removeSocketFolder(setup.socketFolder);
    await lock.release();
  };
  return {
    connection: { host: setup.socketFolder, port: serverPort, user: embeddedUser, database: embeddedDatabase },
    version,
    onExit: (listener) => supervisor.onExit(listener),
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** For others nothing is readable in it; with root, the account of the server may pass through it. */
async function makeDataDir(dataDir: string): Promise<string> {
  await makeFolder(dataDir, process.getuid?.() === 0 ? 0o711 : 0o700);
  return realpath(dataDir);
}
