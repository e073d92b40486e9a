/**
 * Events that are durable before they are acknowledged: one a request against pgbench's single-row insert and commit,
 * and a thousand a request against raw COPY into a table with the same indexes, all on one server.
 */
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { startGateway } from './lib/gateway.ts';
import { startGenerator } from './lib/generator.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { type Pgbench, preparePgbench } from './lib/pgbench.ts';
import { cpuMicros, endedChildrenCpuMicros, familyCpuMicros, residentMb } from './lib/proc.ts';
import { prepareRawCopy } from './lib/raw-copy.ts';
import { deliver, memoryFacts, printMeasurements } from './lib/report.ts';
import { type Contender, type Measurement, measureInTurns, perSecondOf } from './lib/rounds.ts';
import type { Budget } from './lib/statistics.ts';
import { batchEvents, jsonTarget, ndjsonTarget, singleEventTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const singleConnections = 256;
const batchConnections = 4;
const largeCopyRows = 10_000;

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const database = await openDatabase(later);
  const upstream = await startUpstream(later);
  const gateway = await startGateway(
    { upstreamPort: upstream.port, databaseUrl: database.url, profile: options.profile },
    later,
  );
  const generator = await startGenerator(later);
  const rounds = {
    seconds: options.seconds,
    meters: {
      gateway: () => cpuMicros(gateway.pid),
      database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
      // pgbench is a generator of its own, and ends with each turn.
      generator: () => generator.cpuMicros() + endedChildrenCpuMicros(process.pid),
    },
  };
  const single = generator.contender('gateway', singleEventTarget(gateway.port), singleConnections);
  const ndjson = generator.contender('gateway, NDJSON', ndjsonTarget(gateway.port), batchConnections, batchEvents);
  const json = generator.contender('gateway, JSON', jsonTarget(gateway.port), batchConnections, batchEvents);
  if (options.profile !== undefined) {
    printMeasurements(await measureInTurns([single], rounds));
    return;
  }

  const before = residentMb(gateway.pid);
  const pgbench = await preparePgbench(database.url, later);
  const singles = await measureInTurns([...reference(pgbench), single], rounds);
  const between = residentMb(gateway.pid);
  await ndjson.run(1);
  const copy = await prepareRawCopy(database.url, largeCopyRows, later);
  const copies = [copy.contender('COPY', batchEvents), copy.contender('COPY, 10,000 rows', largeCopyRows)];
  const batches = await measureInTurns([...copies, ndjson, json], rounds);
  await deliver(
    {
      benchmark: 'events',
      command: `node bench/events.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version, pgbench: pgbenchText(pgbench) },
      sections: [
        {
          title: `One event a request, concurrency ${singleConnections}`,
          unit: 'events',
          measurements: singles,
          reference: pgbench === undefined ? 'gateway' : 'pgbench',
        },
        {
          title: `${batchEvents.toLocaleString('en-US')} events a request, concurrency ${batchConnections}`,
          unit: 'events',
          measurements: batches,
          reference: 'COPY',
        },
      ],
      facts: [
        memoryFacts('under single events', before, between),
        memoryFacts('under batches', between, residentMb(gateway.pid)),
      ],
      budgets: [...(pgbench === undefined ? [] : [singleBudget(singles)]), ...batchBudgets(batches)],
    },
    options,
  );
}

function pgbenchText(pgbench: Pgbench | undefined): string {
  return pgbench === undefined ? 'not installed' : `${pgbench.version} with ${pgbench.clients} clients`;
}

function reference(pgbench: Pgbench | undefined): Contender[] {
  return pgbench === undefined ? [] : [pgbench.contender];
}

function singleBudget(singles: readonly Measurement[]): Budget {
  const value = perSecondOf(singles, 'gateway') / perSecondOf(singles, 'pgbench');
  return { what: 'single event, throughput over pgbench', unit: '', value, must: 0.6, aim: 1.2, better: 'more' };
}

function batchBudgets(batches: readonly Measurement[]): Budget[] {
  return ['NDJSON', 'JSON'].map((format) => ({
    what: `batch of events as ${format}, throughput over COPY`,
    unit: '',
    value: perSecondOf(batches, `gateway, ${format}`) / perSecondOf(batches, 'COPY'),
    must: 0.4,
    aim: 0.7,
    better: 'more',
  }));
}
