import { execFile } from 'node:child_process';
import { chmod, chown, cp, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { giveTo } from '../../src/storage/embedded/account.ts';
import {
  cleanUp,
  dropTemplate,
  isRoot,
  openFolder,
  packageDir,
  processesIn,
  query,
  spawnStore,
  startStore,
  usedFolder,
} from '../support/embedded.ts';

afterEach(cleanUp);
afterAll(dropTemplate);

const nobody = 65_534;

/** A folder that only root may enter, and where root keeps the databases of such folders. */
async function closedFolder(): Promise<{ dataDir: string; systemDir: string; closed: string }> {
  const folder = await openFolder();
  const closed = join(folder, 'closed');
  await mkdir(closed, { mode: 0o700 });
  return { closed, dataDir: join(closed, 'data'), systemDir: join(folder, 'talos') };
}

async function pointer(dataDir: string): Promise<string> {
  return (await readFile(join(dataDir, 'postgres-location.txt'), 'utf8')).trim();
}

describe.runIf(isRoot)('started by root', () => {
  test('the server runs as a user that no other account shares', async () => {
    const dataDir = await usedFolder();
    const store = await startStore(dataDir);
    const [pid] = await processesIn(join(dataDir, 'postgres'));
    const { uid } = await stat(`/proc/${pid}`);
    expect(uid).toBeGreaterThan(60_000);
    expect(uid).not.toBe(nobody);
    expect((await stat(store.connection.host)).uid).toBe(uid);
    const names = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => Number(line.split(':')[2]));
    expect(names).not.toContain(uid);
  });

  test('another user cannot get at the socket', async () => {
    const store = await startStore(await usedFolder());
    const code = await new Promise((resolve) => {
      execFile('/bin/sh', ['-c', `cd ${store.connection.host}`], { uid: nobody, gid: nobody, cwd: '/' }, (error) =>
        resolve(error?.code),
      );
    });
    expect(code).not.toBe(undefined);
  });

  test('a data folder of an ordinary user keeps its owner', async () => {
    const dataDir = await openFolder();
    await chown(dataDir, nobody, nobody);
    const { child, first } = await spawnStore({ data: dataDir, uid: nobody });
    expect(first.reason).toBeUndefined();
    if (first.connection === undefined) throw new Error('no connection');
    await query(first.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
    child.kill('SIGTERM');
    await new Promise((resolve) => child.once('exit', resolve));

    const store = await startStore(dataDir);
    expect(await query(store.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
    expect((await stat(join(dataDir, 'postgres'))).uid).toBe(nobody);
    await store.stop();
  });

  test('a data folder that root has copied belongs to root and still works', async () => {
    const dataDir = await usedFolder();
    await (await startStore(dataDir)).stop();
    await giveTo({ uid: 0, gid: 0 }, join(dataDir, 'postgres'));
    await startStore(dataDir);
    expect((await stat(join(dataDir, 'postgres', 'base'))).uid).toBeGreaterThan(60_000);
  });

  test('programs in a closed folder are copied to where the server can run them', async () => {
    const { closed } = await closedFolder();
    await cp(packageDir, join(closed, 'package'), { recursive: true, verbatimSymlinks: true });
    const dataDir = await usedFolder();
    const store = await startStore(dataDir, { packageDir: join(closed, 'package') });
    expect(store.logged.join('\n')).toContain('programs cannot be used where npm put them');
    expect(await query(store.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});

describe.runIf(isRoot)('started by root in a folder that is closed to others', () => {
  test('the database lives in a folder of the system, and the data folder says where', async () => {
    const { dataDir, systemDir } = await closedFolder();
    const first = await startStore(dataDir, { systemDir });
    const home = await pointer(dataDir);
    expect(home.startsWith(`${systemDir}/`)).toBe(true);
    expect(first.logged.join('\n')).toContain(home);
    await query(first.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
    await first.stop();

    const second = await startStore(dataDir, { systemDir });
    expect(await query(second.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
    expect(await readdir(join(home, 'postgres'))).toContain('PG_VERSION');
  });

  test('a umask that closes everything makes no difference', async () => {
    const { dataDir, systemDir } = await closedFolder();
    const script = new URL('../support/embedded-child.ts', import.meta.url).pathname;
    const command = `umask 077; exec "$0" "$1" --data "$2" --system "$3"`;
    const child = execFile('/bin/sh', ['-c', command, process.execPath, script, dataDir, systemDir]);
    const line = await new Promise<string>((resolve) => child.stdout?.once('data', resolve));
    expect(JSON.parse(line)).toHaveProperty('connection');
    child.kill('SIGTERM');
    await new Promise((resolve) => child.once('exit', resolve));
  });

  test('a database from before the folder was closed comes along', async () => {
    const { closed, dataDir, systemDir } = await closedFolder();
    await chmod(closed, 0o755);
    const before = await startStore(dataDir, { systemDir });
    await query(before.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
    await before.stop();
    await chmod(closed, 0o700);

    const after = await startStore(dataDir, { systemDir });
    expect(await query(after.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
    await after.stop();
    await chmod(closed, 0o755);
    const opened = await startStore(dataDir, { systemDir });
    expect(await query(opened.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
  });

  test('a data folder that was moved finds its database', async () => {
    const { closed, dataDir, systemDir } = await closedFolder();
    const before = await startStore(dataDir, { systemDir });
    await query(before.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
    await before.stop();
    await rename(dataDir, join(closed, 'moved'));
    const after = await startStore(join(closed, 'moved'), { systemDir });
    expect(await query(after.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
  });

  test('a copy of a data folder may not share the database of the first', async () => {
    const { closed, dataDir, systemDir } = await closedFolder();
    await (await startStore(dataDir, { systemDir })).stop();
    await cp(dataDir, join(closed, 'copy'), { recursive: true });
    await expect(startStore(join(closed, 'copy'), { systemDir })).rejects.toMatchObject({ reason: 'in_use' });
    await startStore(dataDir, { systemDir });
  });

  test('a database that is gone is not silently replaced by an empty one', async () => {
    const { dataDir, systemDir } = await closedFolder();
    await (await startStore(dataDir, { systemDir })).stop();
    await rm(systemDir, { recursive: true });
    await expect(startStore(dataDir, { systemDir })).rejects.toMatchObject({
      reason: 'lost',
      message: expect.stringContaining('postgres-location.txt'),
    });
  });

  test('a data folder that was deleted begins anew, and the old database is kept aside', async () => {
    const { dataDir, systemDir } = await closedFolder();
    const before = await startStore(dataDir, { systemDir });
    await query(before.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
    await before.stop();
    await rm(dataDir, { recursive: true });
    const after = await startStore(dataDir, { systemDir });
    await expect(query(after.connection, 'SELECT n FROM kept')).rejects.toThrow('does not exist');
    expect((await readdir(systemDir)).filter((name) => name.includes('.left-'))).toHaveLength(1);
  });
});
