/**
 * What was acknowledged survives. A gateway with the embedded store is killed with SIGKILL while it commits, over and
 * over on one data folder, every second time together with all processes of its store; afterwards every event that got
 * a 2xx is in the log exactly once, at its place, and the log is whole.
 */
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';
import { cleanUp, endProcess, later, onLinux, openFolder, processesIn, startStore } from '../support/embedded.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { type CheckedRecord, checkLog } from '../support/log-checker.ts';

afterEach(cleanUp);

const kills = 10;
const acknowledgedPerLife = 560;
const clients = 48;
const eventsPerGroup = 5;

interface Acknowledged {
  readonly n: number;
  readonly event_id: string;
  readonly seq: number;
  readonly integrity_hash: string;
}

/** What the clients sent, and what they were told. Numbers are never sent twice. */
interface Ledger {
  next: number;
  readonly acknowledged: Acknowledged[];
  /** First numbers of the groups that were sent as one request. */
  readonly groups: number[];
}

it('loses nothing that was acknowledged in ten kills under load', { timeout: 150_000 }, async () => {
  const dataDir = await openFolder();
  // Whatever happens below, no server of ours goes on running.
  later(async () => {
    const store = await startEmbeddedPostgres({ dataDir, clock: systemClock, log: () => {} });
    await store.stop();
  });
  const ledger: Ledger = { next: 0, acknowledged: [], groups: [] };
  for (let life = 0; life < kills; life++) {
    const gateway = await startGatewayProcess({ cwd: dataDir, env: environment(dataDir) });
    later(() => endProcess(gateway.child, 'SIGKILL'));
    // The processes of the store are found by their working folder, which only Linux tells.
    const withStore = onLinux && life % 2 === 1;
    const store = withStore ? await processesIn(join(dataDir, 'postgres')) : [];
    expect(store.length > 0).toBe(withStore);
    const inFlight = await loadUntilKilled(gateway, store, ledger);
    expect(inFlight, 'requests in flight at the kill').toBeGreaterThan(0);
  }
  expect(ledger.acknowledged.length).toBeGreaterThanOrEqual(5_000);

  const store = await startStore(dataDir);
  const records = await checkLog(store.connection);
  expectExactlyOnce(records, ledger);
  expectWholeGroups(records, ledger);
});

function environment(dataDir: string) {
  return { DEV_MODE: 'true', TALOS_DATA_DIR: dataDir, TALOS_GATEWAY_PORT: '0', TALOS_BIND_HOST: '127.0.0.1' };
}

/** Keeps all clients busy, kills the gateway in the midst of it, and resolves with how many requests that cut off. */
async function loadUntilKilled(gateway: GatewayProcess, store: readonly number[], ledger: Ledger): Promise<number> {
  const enough = ledger.acknowledged.length + acknowledgedPerLife;
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  let inFlight = 0;
  let cutOff: number | undefined;
  const client = async (index: number) => {
    while (cutOff === undefined) {
      inFlight++;
      const told = await (index % 8 === 0 ? sendGroup : sendOne)(gateway.url, agent, ledger).catch(() => undefined);
      inFlight--;
      // A request that failed although nobody was killed is a fault of its own.
      if (told === undefined && cutOff === undefined)
        throw new Error('the gateway failed a request while it was alive');
      if (told !== undefined) ledger.acknowledged.push(...told);
      if (cutOff === undefined && ledger.acknowledged.length >= enough) {
        cutOff = inFlight;
        for (const pid of store) process.kill(pid, 'SIGKILL');
        gateway.child.kill('SIGKILL');
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  await endProcess(gateway.child, 'SIGKILL');
  agent.destroy();
  return cutOff ?? 0;
}

async function sendOne(url: string, agent: Agent, ledger: Ledger): Promise<Acknowledged[]> {
  const n = ledger.next++;
  const body = (await post(`${url}/api/events`, agent, eventOf(n))) as Omit<Acknowledged, 'n'>;
  return [{ ...body, n }];
}

async function sendGroup(url: string, agent: Agent, ledger: Ledger): Promise<Acknowledged[]> {
  const first = ledger.next;
  ledger.next += eventsPerGroup;
  ledger.groups.push(first);
  const group = Array.from({ length: eventsPerGroup }, (_, index) => eventOf(first + index));
  const body = (await post(`${url}/api/events/batch`, agent, group)) as { events: Omit<Acknowledged, 'n'>[] };
  return body.events.map((event, index) => ({ ...event, n: first + index }));
}

function eventOf(n: number) {
  return { event_type: 'load', actor: 'client', action: 'test', metadata: { n } };
}

/** Resolves with the body of a 2xx that arrived whole. */
function post(url: string, agent: Agent, json: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: 'POST', agent, headers: { 'content-type': 'application/json' } });
    outgoing.once('error', reject);
    outgoing.once('response', (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      incoming.once('error', reject);
      incoming.once('close', () => {
        if (!incoming.complete) reject(new Error('the answer was cut off'));
        else if (incoming.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${incoming.statusCode} ${text}`));
      });
    });
    outgoing.end(JSON.stringify(json));
  });
}

function expectExactlyOnce(records: readonly CheckedRecord[], ledger: Ledger): void {
  const times = new Map<number, number>();
  for (const record of records) times.set(numberOf(record), (times.get(numberOf(record)) ?? 0) + 1);
  const lost = ledger.acknowledged.filter(({ n }) => times.get(n) !== 1);
  expect(lost, 'acknowledged events that are not there exactly once').toEqual([]);
  expect(
    [...times].filter(([, count]) => count > 1),
    'events that are there more than once',
  ).toEqual([]);
  const misplaced = ledger.acknowledged.filter(({ n, seq, event_id: eventId, integrity_hash: hash }) => {
    const record = records[seq];
    return record?.eventId !== eventId || numberOf(record) !== n || sha256Hex(record.canon) !== hash;
  });
  expect(misplaced, 'events that are not what their callers were told').toEqual([]);
  expect(records.length).toBeLessThanOrEqual(ledger.next);
}

function expectWholeGroups(records: readonly CheckedRecord[], ledger: Ledger): void {
  const seqs = new Map(records.map((record) => [numberOf(record), record.seq]));
  expect(ledger.groups.length).toBeGreaterThan(100);
  for (const first of ledger.groups) {
    const start = seqs.get(first);
    const places = Array.from({ length: eventsPerGroup }, (_, index) => seqs.get(first + index));
    expect(places).toEqual(places.map((_, index) => (start === undefined ? undefined : start + index)));
  }
}

function numberOf(record: CheckedRecord): number {
  return record.record['meta']?.['n'] as unknown as number;
}
