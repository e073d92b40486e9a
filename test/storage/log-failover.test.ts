/** A database that is another one all of a sudden: an older copy, which has lost the newest records, goes on under its name. */
import { randomUUID } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { numbered } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';
import { testServerUrl } from '../support/postgres.ts';

afterEach(cleanUp);

/** A copy of the database as it is now, which takes its place when it is called. */
async function copyOf({ url }: { url: string }): Promise<() => Promise<void>> {
  const name = url.slice(url.lastIndexOf('/') + 1);
  const free = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '${name}'`;
  await query(testServerUrl(), free, `CREATE DATABASE ${name}_older TEMPLATE ${name}`);
  later(() => query(testServerUrl(), `DROP DATABASE IF EXISTS ${name}_gone WITH (FORCE)`));
  return async () => {
    await query(
      testServerUrl(),
      ...[free, `ALTER DATABASE ${name} RENAME TO ${name}_gone`, `ALTER DATABASE ${name}_older RENAME TO ${name}`],
    );
  };
}

it.each([
  ['went on without asking', 6],
  ['asked each time', 1],
])('a writer that %s knows nothing of what it was, though there are as many records', async (_, lost) => {
  const address = await freshLog();
  const [writer, another] = [writerOn(address), writerOn(address)];
  const acknowledged = [
    ...(await writer.append(randomUUID(), numbered(250))),
    ...(await writer.append(randomUUID(), numbered(10, 250))),
  ];
  const failOver = await copyOf(address);
  await expect.poll(() => writer.isConnected(), { timeout: 20_000 }).toBe(false);
  for (let n = 0; n < lost; n++) await writer.append(randomUUID(), numbered(1, 1_000 + n));
  await failOver();
  await expect.poll(() => writer.isConnected(), { timeout: 20_000 }).toBe(false);
  acknowledged.push(...(await another.append(randomUUID(), numbered(lost, 260))));
  for (let n = 0; n < 3; n++) {
    acknowledged.push(...(await writer.append(randomUUID(), numbered(200, 260 + lost + n * 200))));
  }
  const records = await checkAcknowledged(address, acknowledged);
  expect(numbersOf(records)).toEqual(Array.from({ length: 860 + lost }, (_, n) => n));
});
