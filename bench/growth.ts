/**
 * What grows with the log: events that are recorded, receipts that are asked for and starts of the gateway, each on logs
 * of ten thousand, a hundred thousand and a million events. The smallest log is the reference.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { type BenchDatabase, makeFolder, openDatabase, query } from './lib/database.ts';
import { type BenchGateway, startGateway } from './lib/gateway.ts';
import { type Generator, startGenerator } from './lib/generator.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros, familyCpuMicros } from './lib/proc.ts';
import { deliver, type Section } from './lib/report.ts';
import { type Contender, type Measurement, measureInTurns, named } from './lib/rounds.ts';
import { figure } from './lib/statistics.ts';
import { batchEvents, ndjsonTarget, receiptTarget, singleEventTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const sizes = [10_000, 100_000, 1_000_000] as const;
const fillConnections = 4;
const receiptsInTurn = 4_096;
const startsPerSize = 5;
const largest = nameOf(sizes[2]);
const smallest = nameOf(sizes[0]);

/** What is measured at each size. */
const kinds = ['receipt, one at a time', 'receipt, 16 at a time', 'one event a request', 'events in batches'] as const;
type Kind = (typeof kinds)[number];
type Results = Readonly<Record<Kind, Measurement>>;

interface Starts {
  readonly ms: readonly number[];
  /** Rows that the database read for one start and one stop. */
  readonly rows: number;
}

interface Grown {
  readonly size: number;
  readonly fillPerSecond: number;
  readonly starts: Starts;
  readonly results: Results;
}

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const upstream = await startUpstream(later);
  const generator = await startGenerator(later);
  const database = await openDatabase(later);
  const all: Grown[] = [];
  for (const size of sizes) {
    const own = size === sizes[0] ? database : await openDatabase(later);
    all.push(await measureAt(size, { options, database: own, upstreamPort: upstream.port, generator, later }));
  }
  await deliver(
    {
      benchmark: 'growth',
      command: `node bench/growth.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version },
      sections: kinds.map((kind) => sectionOf(kind, all)),
      facts: [
        {
          title: 'Restart to ready, the guard against a second history included',
          rows: all.map(({ size, starts }) => [
            nameOf(size),
            `${starts.ms.map((ms) => figure(ms / 1000)).join(', ')} s, the last after SIGKILL; ${figure(starts.rows)} rows read`,
          ]),
        },
        {
          title: 'Filling an empty log through the HTTP interface',
          rows: all.map(({ size, fillPerSecond }) => [nameOf(size), `${figure(fillPerSecond)} events/s`]),
        },
      ],
      budgets: [
        {
          what: 'receipt over HTTP at 1 M events, p99',
          unit: 'ms',
          value: at(all, largest).results['receipt, one at a time'].latencyMs?.p99 ?? Number.NaN,
          must: 25,
          aim: 5,
          better: 'less',
        },
        {
          what: 'restart to ready at 1 M events',
          unit: 's',
          value: Math.max(...at(all, largest).starts.ms) / 1000,
          must: 3,
          aim: 1,
          better: 'less',
        },
      ],
    },
    options,
  );
}

function sectionOf(kind: Kind, all: readonly Grown[]): Section {
  const measurements = all.map(({ size, results }) => ({ ...results[kind], name: nameOf(size) }));
  return { title: capitalised(kind), unit: 'operations', measurements, reference: smallest };
}

function nameOf(size: number): string {
  return `${size.toLocaleString('en-US')} events`;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function at(all: readonly Grown[], name: string): Grown {
  const found = all.find(({ size }) => nameOf(size) === name);
  if (found === undefined) throw new Error(`Nothing was measured at ${name}.`);
  return found;
}

interface Bench {
  readonly options: BenchOptions;
  readonly database: BenchDatabase;
  readonly upstreamPort: number;
  readonly generator: Generator;
  readonly later: Later;
}

async function measureAt(size: number, bench: Bench): Promise<Grown> {
  const { database, upstreamPort, generator, later } = bench;
  const dataDir = await makeFolder('talos-bench-data-', later);
  const start = () => startGateway({ upstreamPort, databaseUrl: database.url, dataDir }, later);
  const first = await start();
  const startedAtMs = performance.now();
  await generator.send(ndjsonTarget(first.port), fillConnections, size / batchEvents);
  const fillPerSecond = (size / (performance.now() - startedAtMs)) * 1000;
  await first.stop();
  if (!existsSync(join(dataDir, 'log.checkpoint'))) throw new Error('A start would have nothing to guard.');
  const starts = await measureStarts(database.url, start);
  const results = await measureRequests(bench, await start());
  return { size, fillPerSecond, starts, results };
}

async function measureStarts(url: string, start: () => Promise<BenchGateway>): Promise<Starts> {
  const ms: number[] = [];
  const before = await rowsRead(url);
  let isKilled = false;
  for (let n = 1; n <= startsPerSize; n++) {
    const gateway = await start();
    ms.push(gateway.startMs);
    if (n === startsPerSize - 1) {
      process.kill(gateway.pid, 'SIGKILL');
      isKilled = true;
    }
    await gateway.stop();
  }
  if (!isKilled) throw new Error('No start was after a kill.');
  return { ms, rows: ((await rowsRead(url)) - before) / startsPerSize };
}

/** So far, from tables of the log. Server processes hand in their counts when they end. */
async function rowsRead(url: string): Promise<number> {
  const [row] = await query<{ rows: string }>(
    url,
    'SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_user_tables',
  );
  return Number(row?.rows);
}

async function measureRequests({ options, database, generator }: Bench, gateway: BenchGateway): Promise<Results> {
  const { pid, port } = gateway;
  const receipts = receiptTarget(port, await someEvents(database.url));
  const contenders: Readonly<Record<Kind, Contender>> = {
    'receipt, one at a time': generator.contender('receipt', receipts, 1),
    'receipt, 16 at a time': generator.contender('receipts', receipts, 16),
    'one event a request': generator.contender('event', singleEventTarget(port), 256),
    'events in batches': generator.contender('batch', ndjsonTarget(port), fillConnections, batchEvents),
  };
  const meters = {
    gateway: () => cpuMicros(pid),
    database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
    generator: generator.cpuMicros,
  };
  const results: Measurement[] = [];
  // Not in turns: those that record come last, so that receipts are asked of a log of the size that is said.
  for (const kind of kinds) {
    const contender = { ...contenders[kind], name: kind };
    results.push(...(await measureInTurns([contender], { seconds: options.seconds, meters })));
  }
  await gateway.stop();
  return Object.fromEntries(kinds.map((kind) => [kind, named(results, kind)])) as unknown as Results;
}

/** Events from all over the log, in no order. */
async function someEvents(url: string): Promise<string[]> {
  const rows = await query<{ event_id: string }>(
    url,
    `SELECT event_id FROM audit_event ORDER BY md5(event_id::text) LIMIT ${receiptsInTurn}`,
  );
  return rows.map((row) => row.event_id);
}
