import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import {
  cleanUp,
  dropTemplate,
  endProcess,
  eventually,
  launchStore,
  onLinux,
  openFolder,
  processesIn,
  query,
  spawnStore,
  startStore,
  usedFolder,
} from '../support/embedded.ts';

afterEach(cleanUp);
afterAll(dropTemplate);

async function postmasterPid(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);
}

describe('a store that starts and stops', () => {
  test('makes its folder, keeps rows over a restart, and sorts text by code point', async () => {
    const dataDir = join(await openFolder(), 'not', 'yet', 'there');
    const first = await startStore(dataDir);
    await query(first.connection, 'CREATE TABLE word (it text)', "INSERT INTO word VALUES ('b'), ('B'), ('ä')");
    await first.stop();

    const second = await startStore(dataDir);
    expect(await query(second.connection, 'SELECT it FROM word ORDER BY it')).toEqual([
      { it: 'B' },
      { it: 'b' },
      { it: 'ä' },
    ]);
    expect(second.version).toMatch(/^18\./);
  });

  test('is crash-safe, closed to the network, and reached through a folder of its user alone', async () => {
    const store = await startStore(await usedFolder());
    const names = "'fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'server_encoding'";
    const rows = await query(
      store.connection,
      `SELECT name, setting FROM pg_settings WHERE name IN (${names}) ORDER BY 1`,
    );
    expect(rows).toEqual([
      { name: 'fsync', setting: 'on' },
      { name: 'full_page_writes', setting: 'on' },
      { name: 'listen_addresses', setting: '' },
      { name: 'server_encoding', setting: 'UTF8' },
      { name: 'synchronous_commit', setting: 'on' },
    ]);
    expect((await stat(store.connection.host)).mode & 0o777).toBe(0o700);
  });

  test.runIf(onLinux)('leaves no process, no socket folder and no lock after a stop', async () => {
    const dataDir = await usedFolder();
    const store = await startStore(dataDir);
    expect((await processesIn(join(dataDir, 'postgres'))).length).toBeGreaterThan(1);

    await Promise.all([store.stop(), store.stop()]);
    expect(await processesIn(join(dataDir, 'postgres'))).toEqual([]);
    await expect(stat(store.connection.host)).rejects.toThrow('ENOENT');
    await (await startStore(dataDir)).stop();
  });

  test('stops although a client is in the middle of something', async () => {
    const store = await startStore(await usedFolder());
    const busy = query(store.connection, 'SELECT pg_sleep(600)').catch((error: Error) => error.message);
    await eventually('the client is busy', async () => {
      const rows = await query(store.connection, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(600)'");
      return rows.length === 1;
    });
    await store.stop();
    expect(await busy).toMatch(/terminat/i);
  });

  test('works in a data folder whose path is longer than a socket path may be', async () => {
    const dataDir = join(
      await openFolder(),
      'long '.repeat(20).trim(),
      'Ünicode "quoted" $HOME \'x\'',
      'x'.repeat(100),
    );
    const store = await startStore(dataDir);
    expect(await query(store.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(store.connection.host.length).toBeLessThan(80);
  });

  test('gives up a start when it is told to, and leaves nothing that stands in the way of the next', async () => {
    const dataDir = await openFolder();
    const abort = new AbortController();
    const starting = startStore(dataDir, { signal: abort.signal });
    const failed = starting.catch((error: Error) => error.message);
    await eventually('initdb is at work', async () => (await readdir(dataDir)).some((name) => name.includes('.new-')));
    abort.abort(new Error('told to stop'));
    expect(await failed).toBe('told to stop');
    expect((await readdir(dataDir)).filter((name) => name !== 'postgres.lock')).toEqual([]);
    await startStore(dataDir);
  });
});

describe('a store whose server ends by itself', () => {
  test.each(['SIGKILL', 'SIGQUIT', 'SIGTERM'] as const)(
    '%s: it is started again at the same address',
    async (signal) => {
      const dataDir = await usedFolder();
      const store = await startStore(dataDir);
      const exits: unknown[] = [];
      store.onExit((exit) => exits.push(exit));
      await query(store.connection, 'CREATE TABLE kept (n int)', 'INSERT INTO kept VALUES (7)');
      process.kill(await postmasterPid(dataDir), signal);

      await eventually('it is back', async () => {
        const rows = await query(store.connection, 'SELECT n FROM kept').catch(() => []);
        return exits.length === 1 && rows.length === 1;
      });
      expect(exits).toEqual([
        signal === 'SIGKILL' ? { code: null, signal } : { code: expect.any(Number), signal: null },
      ]);
      expect(store.logged.join('\n')).toContain('error The embedded PostgreSQL ended unexpectedly');
      await eventually('it says so', () => store.logged.includes('info The embedded PostgreSQL is running again.'));
    },
  );

  test.runIf(onLinux)('a stop during the restart leaves nothing behind', async () => {
    const dataDir = await usedFolder();
    const store = await startStore(dataDir);
    const ended = new Promise((resolve) => store.onExit(resolve));
    process.kill(await postmasterPid(dataDir), 'SIGKILL');
    await ended;
    await store.stop();
    await eventually('nothing runs', async () => (await processesIn(join(dataDir, 'postgres'))).length === 0);
    await startStore(dataDir);
  });
});

describe('a gateway that is killed', () => {
  test.runIf(onLinux)(
    'its server outlives it, is reclaimed by the next start, and no committed row is lost',
    async () => {
      const dataDir = await usedFolder();
      let expected = 0;
      for (let round = 0; round < 3; round++) {
        const { child, first } = await spawnStore({ data: dataDir });
        if (first.connection === undefined) throw new Error(JSON.stringify(first));
        await query(first.connection, 'CREATE TABLE IF NOT EXISTS kept (n int)', `INSERT INTO kept VALUES (${round})`);
        expected++;
        await endProcess(child, 'SIGKILL');
        expect((await processesIn(join(dataDir, 'postgres'))).length).toBeGreaterThan(0);
      }
      const orphan = await postmasterPid(dataDir);
      const store = await startStore(dataDir);
      expect(store.logged[0]).toContain(`process ${orphan}) was left running`);
      expect(await query(store.connection, 'SELECT n FROM kept')).toHaveLength(expected);
      await store.stop();
      expect(await processesIn(join(dataDir, 'postgres'))).toEqual([]);
    },
  );

  test.runIf(onLinux)('Ctrl-C in its terminal does not reach the server', async () => {
    const dataDir = await usedFolder();
    const { child } = await spawnStore({ data: dataDir });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    process.kill(-(child.pid ?? 0), 'SIGINT');
    await ended;
    expect(await processesIn(join(dataDir, 'postgres'))).toContain(await postmasterPid(dataDir));
    await (await startStore(dataDir)).stop();
  });

  test.runIf(onLinux)('a gateway that exits without a stop takes its server along', async () => {
    const dataDir = await usedFolder();
    const { child } = await spawnStore({ data: dataDir });
    await endProcess(child, 'SIGUSR2');
    await eventually('nothing runs', async () => (await processesIn(join(dataDir, 'postgres'))).length === 0);
  });

  test('a first start that is killed again and again leaves no broken folder', async () => {
    const dataDir = await openFolder();
    for (const sign of ['', 'PG_VERSION', 'global/pg_control', 'base/1/PG_VERSION', 'base/5']) {
      const child = launchStore({ data: dataDir });
      await eventually(`initdb got to "${sign}"`, async () => {
        const draft = (await readdir(dataDir)).findLast((name) => name.startsWith('postgres.new-'));
        return draft !== undefined && (await stat(join(dataDir, draft, sign)).catch(() => undefined)) !== undefined;
      });
      await endProcess(child, 'SIGKILL');
    }
    const store = await startStore(dataDir);
    expect(await query(store.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect((await readdir(dataDir)).filter((name) => name.includes('.new-'))).toEqual([]);
  });
});

describe('what stands in the way of a start', () => {
  test('a number of a dead server that another process has now is no obstacle, and that process is left alone', async () => {
    const dataDir = await usedFolder();
    const store = await startStore(dataDir);
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
    const text = await readFile(pidFile, 'utf8');
    await store.stop();
    const { child } = await spawnStore({ data: await usedFolder() });
    await writeFile(pidFile, text.replace(/^\d+/, String(child.pid)));

    const again = await startStore(dataDir);
    expect(await query(again.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(child.exitCode).toBeNull();
    expect(child.signalCode).toBeNull();
  });

  test('a second gateway on the same folder is refused, in this process and in another', async () => {
    const dataDir = await usedFolder();
    const store = await startStore(dataDir);
    await expect(startStore(dataDir)).rejects.toMatchObject({
      reason: 'in_use',
      message: `Another gateway (process ${process.pid}) uses the data folder ${dataDir}: stop it, or give this one a TALOS_DATA_DIR of its own.`,
    });
    const other = await spawnStore({ data: dataDir });
    expect(other.first.reason).toBe('in_use');
    expect(await query(store.connection, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('of several gateways that start at once on one folder, one wins', async () => {
    const dataDir = await openFolder();
    const all = await Promise.all([1, 2, 3, 4].map(() => spawnStore({ data: dataDir })));
    expect(all.filter(({ first }) => first.connection !== undefined)).toHaveLength(1);
    expect(all.filter(({ first }) => first.reason === 'in_use')).toHaveLength(3);
  });

  test.runIf(onLinux)('a clean stop of another process frees the folder', async () => {
    const dataDir = await usedFolder();
    const { child } = await spawnStore({ data: dataDir });
    await endProcess(child, 'SIGTERM');
    expect(child.exitCode).toBe(0);
    expect(await processesIn(join(dataDir, 'postgres'))).toEqual([]);
    await startStore(dataDir);
  });
});
