/** One administrative change at a time, also when the connection that holds the lock is cut off. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createChangeLock } from '../../src/storage/change-lock.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';

describe('the lock of administrative changes', () => {
  let database: TestDatabase;
  let pool: ReturnType<typeof openReadPool>;

  beforeAll(async () => {
    database = await createTestDatabase();
    pool = openReadPool({ url: database.url });
  });
  afterAll(async () => {
    await pool.end();
    await database.drop();
  });

  const terminateOthers = () =>
    pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );

  const others = async () => {
    const { rows } = await pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );
    return rows[0]?.n;
  };

  it('lets one change run at a time', async () => {
    const change = createChangeLock(pool);
    const steps: string[] = [];
    const run = (name: string) =>
      change(async () => {
        steps.push(`${name} begins`);
        await pool.query('SELECT 1');
        steps.push(`${name} ends`);
      });
    await Promise.all([run('first'), run('second')]);
    expect(steps.map((step) => step.split(' ')[1])).toEqual(['begins', 'ends', 'begins', 'ends']);
  });

  it('whose connection breaks in the middle ends no process, and the next change gets it', async () => {
    const change = createChangeLock(pool);
    await expect(
      change(async () => {
        await terminateOthers();
        await expect.poll(others).toBe(0);
        return 'done';
      }),
    ).resolves.toBe('done');
    await expect(change(async () => 'next')).resolves.toBe('next');
  });

  it('passes on what the work throws, and is free again', async () => {
    const change = createChangeLock(pool);
    await expect(change(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(change(async () => 'next')).resolves.toBe('next');
  });
});
