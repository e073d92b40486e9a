/**
 * What partitions cost: batches of 1,024 records through the log's writer, in turns into the partitioned table and into a
 * plain one with the same columns and indexes. `node bench/partitions.ts [--rounds N]`; the server's CPU decides.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { bounds } from '../src/config/bounds.ts';
import { type PreparedEvent, prepareEvent } from '../src/core/audit-event.ts';
import { createLogWriter } from '../src/storage/log.ts';
import { migrate } from '../src/storage/migrate.ts';
import { withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { familyCpuMicros } from './lib/proc.ts';

const batchRecords = 1_024;
const batchesARound = 20;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '8' } } });

function batch(from: number): PreparedEvent[] {
  return Array.from({ length: batchRecords }, (_, n) =>
    prepareEvent(
      {
        surfaceId: 'mcp.tools.call',
        requestId: randomUUID(),
        outcome: n % 20 === 0 ? 'failure' : 'success',
        principal: { authMode: 'bearer', id: `agent-${n % 50}`, teamId: 'default' },
        http: { method: 'POST', path: '/v1/mcp/servers/{server_id}/tools/{tool_name}:call', statusCode: 200 },
        resource: { type: 'tool', id: 'weather/get_forecast' },
        meta: { server_id: 'weather', tool_name: 'get_forecast', session_id: `s-${n % 100}`, n: from + n },
      },
      bounds,
    ),
  );
}

/** The same table and indexes, without partitions; the list of partitions says that there is room for ever. */
const makePlain = `
  CREATE TABLE plain (LIKE audit_event INCLUDING ALL);
  CREATE UNIQUE INDEX ON plain (event_id);
  DROP TABLE audit_event;
  ALTER TABLE plain RENAME TO audit_event;
  CREATE TRIGGER log_move_head AFTER INSERT ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION log_move_head();
  UPDATE log_partition SET end_seq = 65536 * 1000000::bigint`;

await withCleanup(async (later) => {
  const writers: {
    name: string;
    append: (from: number) => Promise<unknown>;
    recordsPerSec: number[];
    postmaster: number;
    cpuMicros: number[];
  }[] = [];
  for (const name of ['partitioned', 'plain']) {
    const { url, postmaster } = await openDatabase(later);
    if (postmaster === undefined) throw new Error('The server must run on this machine.');
    await migrate({ url });
    if (name === 'plain') await run(url, makePlain);
    const writer = createLogWriter({ url });
    later(() => writer.close());
    writers.push({
      name,
      append: (from) => writer.append(randomUUID(), batch(from)),
      recordsPerSec: [],
      postmaster,
      cpuMicros: [],
    });
  }
  // The first round warms up.
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const { append, recordsPerSec, postmaster, cpuMicros } of round % 2 === 0 ? writers : writers.toReversed()) {
      const startedAtMs = performance.now();
      const startedAtMicros = familyCpuMicros(postmaster);
      for (let at = 0; at < batchesARound; at++) await append(at * batchRecords);
      const seconds = (performance.now() - startedAtMs) / 1000;
      const records = batchesARound * batchRecords;
      if (round > 0) cpuMicros.push((familyCpuMicros(postmaster) - startedAtMicros) / records);
      if (round > 0) recordsPerSec.push(records / seconds);
    }
  }
  for (const { name, recordsPerSec, cpuMicros } of writers) {
    const rate = spread(recordsPerSec, 0);
    console.log(`${name.padEnd(12)} ${rate} records/s, ${spread(cpuMicros, 1)} µs of the server's CPU a record`);
  }
});

async function run(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(statement);
  await client.end();
}

function spread(figures: readonly number[], digits: number): string {
  const sorted = figures.toSorted((a, b) => a - b);
  const [low, median, high] = [0, 0.5, 1].map((q) => sorted[Math.round(q * (sorted.length - 1))]?.toFixed(digits));
  return `${median} (${low} to ${high})`;
}
