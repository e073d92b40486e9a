/** A short private folder for the server's Unix socket: whoever may enter it is let in without a password. */
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bounds } from '../../config/bounds.ts';
import { EmbeddedPostgresError, useDatabaseUrl } from './failure.ts';
import type { RunAs } from './run-as.ts';
import { serverPort } from './server-settings.ts';

const prefix = 'talos-pg-';

/** @throws EmbeddedPostgresError `failed` when no folder with a short enough path can be made */
export async function makeSocketFolder(runAs: RunAs, home: string): Promise<string> {
  for (const parent of ['/tmp', tmpdir(), '/run', home]) {
    const folder = await tryFolder(parent, runAs);
    if (folder !== undefined) return folder;
  }
  throw new EmbeddedPostgresError(
    'failed',
    `The embedded PostgreSQL needs a folder with a short path for its socket, and /tmp cannot be used. ${useDatabaseUrl}`,
  );
}

/** Empties the folder before a start, and makes it anew where something has cleaned it away. */
export async function renewSocketFolder(folder: string, runAs: RunAs): Promise<void> {
  await removeSocketFolder(folder);
  // Fails when somebody else was quicker to make it.
  await mkdir(folder, { mode: 0o700 });
  await handOver(folder, runAs);
}

export async function removeSocketFolder(folder: string): Promise<void> {
  if (basename(folder).startsWith(prefix)) await rm(folder, { recursive: true, force: true });
}

async function tryFolder(parent: string, runAs: RunAs): Promise<string | undefined> {
  if (socketPathBytes(join(parent, `${prefix}XXXXXX`)) > bounds.embeddedSocketPathBytesMax) return undefined;
  const folder = await mkdtemp(join(parent, prefix)).catch(() => undefined);
  if (folder !== undefined) await handOver(folder, runAs);
  return folder;
}

async function handOver(folder: string, { uid, gid }: RunAs): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
}

function socketPathBytes(folder: string): number {
  return Buffer.byteLength(join(folder, `.s.PGSQL.${serverPort}`));
}
