/**
 * Live streams: deliveries a second to 100 and 1,000 WebSocket clients of one gateway, against `ws` broadcasting the same
 * bytes without a log; the time from a commit to a client, with and without a client that never reads; and the memory of
 * an idle connection.
 */
import type { ChildProcess } from 'node:child_process';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { capability, startGateway } from './lib/gateway.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros, familyCpuMicros, residentMb } from './lib/proc.ts';
import { endProcess, messageOf, startWorker } from './lib/processes.ts';
import { deliver, printMeasurements, type Section } from './lib/report.ts';
import { type Contender, measureInTurns, named, perSecondOf, type Turn } from './lib/rounds.ts';
import { sampleEvent } from './lib/sample-events.ts';
import { figure } from './lib/statistics.ts';
import type { StreamTarget } from './lib/stream-client.ts';
import type { OpenOrder, RunOrder, StreamRun } from './lib/stream-load.ts';
import { startUpstream } from './lib/upstream.ts';

const host = '127.0.0.1';
const batch = 100;
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
  const target = { host, port: gateway.port, token: capability('tool:gateway/method:events.read') };
  const writer = capability('tool:gateway/method:events.write');
  const write = (events: number): Written => ({
    url: `http://${host}:${gateway.port}/api/events/batch`,
    headers: { authorization: `Bearer ${writer}`, 'content-type': 'application/json' },
    body: JSON.stringify(Array.from({ length: events }, (_, n) => sampleEvent(n))),
    events,
  });

  const sections: Section[] = [];
  let sample = '';
  for (const clients of [100, 1_000]) {
    const readers = await openReaders(target, clients, later);
    // The first event tells what to broadcast.
    sample ||= (await run(readers, { ...write(1), kind: 'run', seconds: 0.1 })).sample;
    const contenders = [contender('gateway', readers, write(batch))];
    const reference = options.profile === undefined ? await openReference(sample, clients, later) : undefined;
    if (reference !== undefined) contenders.unshift(reference.contender);
    const rounds = {
      seconds: options.seconds,
      meters: {
        gateway: () => cpuMicros(gateway.pid),
        ws: () => (reference === undefined ? Number.NaN : cpuMicros(reference.pid)),
        database: () => (database.postmaster === undefined ? Number.NaN : familyCpuMicros(database.postmaster)),
        readers: () => cpuMicros(readers.pid as number) + (reference?.readersCpuMicros() ?? 0),
      },
    };
    const measurements = await measureInTurns(contenders, rounds);
    sections.push({
      title: `${clients.toLocaleString('en-US')} clients, ${batch} events a commit`,
      unit: 'deliveries',
      measurements,
      reference: reference === undefined ? 'gateway' : 'ws',
    });
    await reference?.end();
    if (clients === 1_000) {
      const after = /"cursor":"([^"]+)"/.exec(sample)?.[1] ?? '';
      const stalled: OpenOrder = { kind: 'open', target: { ...target, after }, clients: 1, stalled: true };
      sections.push(await measureLatency(readers, stalled, write(paced.events), options, later));
    }
    await endProcess(readers);
  }
  if (options.profile !== undefined) {
    printMeasurements(sections.flatMap(({ measurements }) => measurements));
    return;
  }

  const idleDatabase = await openDatabase(later);
  const idle = await startGateway({ ...setup, databaseUrl: idleDatabase.url }, later);
  const before = residentMb(idle.pid).now;
  await openReaders({ ...target, port: idle.port }, idleClients, later);
  const after = residentMb(idle.pid).now;
  const kibPerClient = ((after - before) * 1e6) / kib / idleClients;

  const [, thousand = [], latency = []] = sections.map(({ measurements }) => measurements);
  const alone = named(latency, 'all read').latencyMs;
  const beside = named(latency, 'one never reads').latencyMs;
  await deliver(
    {
      benchmark: 'streams',
      command: `node bench/streams.ts --seconds ${options.seconds}`,
      environment: { PostgreSQL: database.version, 'bytes of an event': String(sample.length) },
      sections,
      facts: [
        {
          title: `Resident memory of a gateway process with ${idleClients.toLocaleString('en-US')} idle connections`,
          rows: [
            ['before', `${figure(before)} MB`],
            ['after', `${figure(after)} MB`],
            ['for one connection', `${figure(kibPerClient)} KiB`],
          ],
        },
      ],
      budgets: [
        {
          ...{ what: 'deliveries to 1,000 clients', unit: '/s', value: perSecondOf(thousand, 'gateway') },
          ...{ must: 40_000, aim: 250_000, better: 'more' },
        },
        {
          ...{ what: 'commit to client p99, beside one that never reads, over without', unit: '' },
          ...{ value: (beside?.p99 ?? Number.NaN) / (alone?.p99 ?? Number.NaN), must: 2, better: 'less' },
        },
      ],
    },
    options,
  );
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

/** At a pace that leaves room, with and without one more client, which wants all there is and never reads. */
async function measureLatency(
  readers: ChildProcess,
  stalled: OpenOrder,
  written: Written,
  { seconds }: BenchOptions,
  later: Later,
): Promise<Section> {
  const alone = contender('all read', readers, { ...written, perSecond: paced.perSecond }, true);
  const beside: Contender = {
    name: 'one never reads',
    run: async (turnSeconds) => {
      const worker = await startWorker('./stream-load-process.ts');
      later(() => endProcess(worker));
      await open(worker, stalled);
      const turn = await alone.run(turnSeconds);
      await endProcess(worker);
      return turn;
    },
  };
  const rate = paced.events * paced.perSecond;
  return {
    title: `From commit to client: 1,000 clients, ${rate} events a second`,
    unit: 'deliveries',
    measurements: await measureInTurns([alone, beside], { seconds, meters: {} }),
    reference: 'all read',
  };
}
