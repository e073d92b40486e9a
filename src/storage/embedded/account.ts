/**
 * Who runs the PostgreSQL programs, which refuse to run as root: this process's own user, or, when that is root, a
 * numeric account that nothing else on the machine uses, so that no other daemon can reach the data or the socket.
 */
import { lchown, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EmbeddedPostgresError, useDatabaseUrl } from './failure.ts';
import { ownUser, type RunAs } from './run-as.ts';
import { runTool } from './run-tool.ts';

// Neither people, Debian, systemd-homed nor systemd's dynamic users are given numbers from this range.
const dedicatedFirst = 60_954;
const dedicatedLast = 60_963;

/** The account of the server: the owner of an existing data folder decides, so that a change of user cannot lock it out. */
export async function serverAccount(dataFolder: string): Promise<RunAs> {
  if (process.getuid?.() !== 0) return ownUser;
  const owner = await stat(dataFolder).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const taken = new Set((await accounts()).map((account) => account.uid));
  for (let id = dedicatedFirst; id <= dedicatedLast; id++) if (!taken.has(id)) return { uid: id, gid: id };
  return { uid: dedicatedLast, gid: dedicatedLast };
}

/** The account for `initdb`, which insists on a user that has a name. */
export async function initdbAccount(server: RunAs): Promise<RunAs> {
  if (server.uid === undefined) return server;
  const known = await accounts();
  if (known.some((account) => account.uid === server.uid)) return server;
  const nobody = known.find((account) => account.name === 'nobody');
  return { uid: nobody?.uid ?? 65_534, gid: nobody?.gid ?? 65_534 };
}

/**
 * Whether `runAs` may enter `folder`, found out by doing it, so that every kind of access rule counts.
 * @throws EmbeddedPostgresError `no_account` when root may not become another user here
 */
export async function canEnter(runAs: RunAs, folder: string): Promise<boolean> {
  if (runAs.uid === undefined) return true;
  const result = await runTool({ command: '/bin/sh', args: ['-c', 'cd "$1"', 'sh', folder], runAs });
  if (result.spawnError !== undefined) throw cannotSwitch(result.spawnError);
  return result.exitCode === 0;
}

/** Hands a folder and all that is in it to `runAs`. */
export async function giveTo(runAs: RunAs, folder: string): Promise<void> {
  const { uid, gid } = runAs;
  if (uid === undefined || gid === undefined) return;
  await lchown(folder, uid, gid);
  const entries = await readdir(folder, { withFileTypes: true });
  await Promise.all(
    entries.map((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? giveTo(runAs, path) : lchown(path, uid, gid);
    }),
  );
}

function cannotSwitch(reason: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    'no_account',
    'PostgreSQL does not run as root, and here root may not become another user ' +
      `(${reason}): start the gateway as an ordinary user. ${useDatabaseUrl}`,
  );
}

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

async function accounts(): Promise<Account[]> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    return name === undefined || uid === undefined || gid === undefined
      ? []
      : [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}
