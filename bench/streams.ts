/**
 * Live streams: deliveries a second to 100 and 1,000 WebSocket clients of one gateway, against `ws` broadcasting the same
 * bytes without a log; the time from a commit to a client, with and without a client that never reads; and the memory of
 * an idle connection.
 */
import type { ChildProcess } from 'node:child_process';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { type BenchDatabase, openDatabase } from './lib/database.ts';
import { type BenchGateway, capability, startGateway } from './lib/gateway.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros, familyCpuMicros, residentMb } from './lib/proc.ts';
import { endProcess, messageOf, startWorker } from './lib/processes.ts';
import { deliver, type Facts, printMeasurements, type Section } from './lib/report.ts';
import { type Contender, type Measurement, measureInTurns, named, perSecondOf, type Turn } from './lib/rounds.ts';
import { sampleEvent } from './lib/sample-events.ts';
import { type Budget, figure } from './lib/statistics.ts';
import type { StreamTarget } from './lib/stream-client.ts';
import type { OpenOrder, RunOrder, StreamRun } from './lib/stream-load.ts';
import { startUpstream } from './lib/upstream.ts';

const host = '127.0.0.1';
const batch = 100;
const latencyClients = 1_000;
const idleClients = 5_000;
/** With 1,000 clients as many deliveries a second as a gateway must manage. */
const paced = { events: 2, perSecond: 20 };
const kib = 1_024;

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const database = await openDatabase(later);
  const upstream = await startUpstream(later);
  const setup = { upstreamPort: upstream.port, databaseUrl: database.url, profile: options.profile };
  const gateway = await startGateway(setup, later);
  const measured = { gateway, database, options, later };
  const hundred = await measureDeliveries(measured, 100);
  const thousand = await measureDeliveries(measured, 1_000);
  const sections = [hundred.section, thousand.section];
  if (options.profile !== undefined) {
    printMeasurements(sections.flatMap(({ measurements }) => measurements));
    return;
  }
  const latency = await measureLatency(measured, hundred.sample);
  const idleDatabase = await openDatabase(later);
  const idle = await startGateway({ ...setup, databaseUrl: idleDatabase.url }, later);
  await deliver(
    {
      benchmark: 'streams',
      command: `node bench/streams.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version, 'bytes of an event': String(hundred.sample.length) },
      sections: [...sections, latency],
      facts: [await measureIdle(idle, later)],
      budgets: budgetsOf(thousand.section.measurements, latency.measurements),
    },
    options,
  );
}

function budgetsOf(thousand: readonly Measurement[], latency: readonly Measurement[]): Budget[] {
  const p99 = (name: string) => named(latency, name).latencyMs?.p99 ?? Number.NaN;
  const ratio = p99('one never reads') / p99('all read');
  const value = perSecondOf(thousand, 'gateway');
  return [
    { what: 'deliveries to 1,000 clients', unit: '/s', value, must: 40_000, aim: 250_000, better: 'more' },
    { what: 'commit to client p99, beside one that never reads', unit: '', value: ratio, must: 2, better: 'less' },
  ];
}

interface Measured {
  readonly gateway: BenchGateway;
  readonly database: BenchDatabase;
  readonly options: BenchOptions;
  readonly later: Later;
}

function targetOf(gateway: BenchGateway): StreamTarget {
  return { host, port: gateway.port, token: capability('tool:gateway/method:events.read') };
}

function writeTo(gateway: BenchGateway, events: number): Written {
  return {
    url: `http://${host}:${gateway.port}/api/events/batch`,
    headers: {
      authorization: `Bearer ${capability('tool:gateway/method:events.write')}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(Array.from({ length: events }, (_, n) => sampleEvent(n))),
    events,
  };
}

/** `sample` is the text of one event. */
async function measureDeliveries(
  { gateway, database, options, later }: Measured,
  clients: number,
): Promise<{ readonly section: Section; readonly sample: string }> {
  const readers = await openReaders(targetOf(gateway), clients, later);
  const { sample } = await run(readers, { ...writeTo(gateway, 1), kind: 'run', seconds: 0.1 });
  const reference = options.profile === undefined ? await openReference(sample, clients, later) : undefined;
  const own = contender('gateway', readers, writeTo(gateway, batch));
  const measurements = await measureInTurns(reference === undefined ? [own] : [reference.contender, own], {
    seconds: options.seconds,
    meters: {
      gateway: () => cpuMicros(gateway.pid),
      ws: () => (reference === undefined ? Number.NaN : cpuMicros(reference.pid)),
      database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
      readers: () => cpuMicros(readers.pid as number) + (reference?.readersCpuMicros() ?? 0),
    },
  });
  await reference?.end();
  await endProcess(readers);
  const title = `${clients.toLocaleString('en-US')} clients, ${batch} events a commit`;
  return { section: { title, unit: 'deliveries', measurements, reference: reference ? 'ws' : 'gateway' }, sample };
}

async function measureIdle(gateway: BenchGateway, later: Later): Promise<Facts> {
  const before = residentMb(gateway.pid).now;
  await openReaders(targetOf(gateway), idleClients, later);
  const after = residentMb(gateway.pid).now;
  return {
    title: `Resident memory of a gateway process with ${idleClients.toLocaleString('en-US')} idle connections`,
    rows: [
      ['before', `${figure(before)} MB`],
      ['after', `${figure(after)} MB`],
      ['for one connection', `${figure(((after - before) * 1e6) / kib / idleClients)} KiB`],
    ],
  };
}

type Written = Omit<RunOrder, 'kind' | 'seconds'>;

async function openReaders(target: StreamTarget, clients: number, later: Later): Promise<ChildProcess> {
  const readers = await startWorker('./stream-load-process.ts');
  later(() => endProcess(readers));
  await open(readers, { kind: 'open', target, clients });
  return readers;
}

async function open(readers: ChildProcess, order: OpenOrder): Promise<void> {
  readers.send(order);
  await messageOf(readers);
}

async function run(readers: ChildProcess, order: RunOrder): Promise<StreamRun> {
  readers.send(order);
  return await messageOf<StreamRun>(readers);
}

function contender(name: string, readers: ChildProcess, written: Written, withLatency = false): Contender {
  return {
    name,
    run: async (seconds): Promise<Turn> => {
      const { deliveries, seconds: took, latenciesUs } = await run(readers, { ...written, kind: 'run', seconds });
      return { operations: deliveries, errors: 0, seconds: took, ...(withLatency ? { latenciesUs } : {}) };
    },
  };
}

async function openReference(sample: string, clients: number, later: Later) {
  const server = await startWorker('./broadcast-process.ts');
  later(() => endProcess(server));
  const port = await messageOf<number>(server);
  const readers = await openReaders({ host, port, token: '' }, clients, later);
  const body = Array.from({ length: batch }, () => sample).join('\n');
  return {
    pid: server.pid as number,
    contender: contender('ws', readers, { url: `http://${host}:${port}/`, headers: {}, body, events: batch }),
    readersCpuMicros: () => cpuMicros(readers.pid as number),
    end: async () => {
      await endProcess(readers);
      await endProcess(server);
    },
  };
}

/**
 * At a pace that leaves room, with and without one more client, which wants everything from the event `sample` on and
 * never reads.
 */
async function measureLatency({ gateway, options, later }: Measured, sample: string): Promise<Section> {
  const readers = await openReaders(targetOf(gateway), latencyClients, later);
  const written = { ...writeTo(gateway, paced.events), perSecond: paced.perSecond };
  const alone = contender('all read', readers, written, true);
  const after = /"cursor":"([^"]+)"/.exec(sample)?.[1] ?? '';
  const beside: Contender = {
    name: 'one never reads',
    run: async (seconds) => {
      const stalled = await startWorker('./stream-load-process.ts');
      later(() => endProcess(stalled));
      await open(stalled, { kind: 'open', target: { ...targetOf(gateway), after }, clients: 1, stalled: true });
      const turn = await alone.run(seconds);
      await endProcess(stalled);
      return turn;
    },
  };
  const measurements = await measureInTurns([alone, beside], { seconds: options.seconds, meters: {} });
  await endProcess(readers);
  const rate = paced.events * paced.perSecond;
  return {
    title: `From commit to client: 1,000 clients, ${rate} events a second`,
    unit: 'deliveries',
    measurements,
    reference: 'all read',
  };
}
