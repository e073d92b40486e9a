/**
 * None lost: four gateways on one database, under load, while gateways are killed and stopped, connections are lost in
 * the middle of commits and the store crashes. Afterwards the log is read back from its bytes and compared with what the
 * clients were told. TALOS_CRASH_SECONDS says for how long; on a slow machine it goes on, for no more than three times as long,
 * until enough has happened. TALOS_CRASH_SEED repeats the choices of a run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, query } from '../support/embedded.ts';
import { checkLog } from '../support/log-checker.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { dice } from './dice.ts';
import { type FaultCounts, startFaults } from './faults.ts';
import { type Ledger, startLoad } from './load.ts';
import { closeOpenIntents, endGateways, openReconciler } from './settle.ts';
import { judgeSubscribers, type Subscribers, startSubscribers } from './subscribers.ts';
import { judge, type Verdict } from './verdict.ts';

afterEach(cleanUp, 60_000);

const seconds = Number(process.env['TALOS_CRASH_SECONDS'] ?? 60);
const seed = Number(process.env['TALOS_CRASH_SEED'] ?? Date.now() % 2 ** 31);

// A run proves something only when enough happened in it.
const countsFromSeconds = 60;
const acknowledgedMin = 50_000;
const killsInTransactionMin = 20;
const ambiguousMin = 5;
// The store restarts and zombies are ended within seconds; who waits for longer waits for something that nobody ends.
const silenceMsMax = 15_000;

it('loses nothing that was acknowledged', { timeout: (3 * seconds + 240) * 1000 }, async () => {
  const cluster = await startCluster();
  const startedAtMs = performance.now();
  // Far less patient than a gateway: whoever is stopped for five seconds finds its intents closed when it wakes.
  const watcher = openReconciler(cluster.store.connection, { intervalMs: 1_000, silentMs: 2_000 });
  const load = startLoad(cluster, dice(seed));
  const subscribers = startSubscribers(cluster, dice(seed + 2));
  const faults = startFaults(cluster, dice(seed + 1));
  await delay(seconds * 1000);
  for (let extra = 0; extra < 2 * seconds && !isEnough(load.ledger, faults.counts); extra++) await delay(1_000);
  const loadMs = performance.now() - startedAtMs;
  await faults.stop();
  await load.stop();
  const settledMs = performance.now() - startedAtMs - loadMs;
  await watcher.close();
  const { connection } = cluster.store;
  const lastId = await lastIdOf(cluster);
  await subscribers.reached(lastId);
  await subscribers.stop();
  await endGateways(cluster);
  const closedAfterwards = await closeOpenIntents(connection);

  const records = await checkLog(connection);
  const verdict = judge(records, load.ledger, cluster.upstream);
  const run = {
    loadMs,
    settledMs,
    records: records.length,
    closedAfterwards,
    zombiesEnded: zombiesEnded(cluster),
    subscribers,
    verdict,
  };
  process.stdout.write(`\n${summary({ ...run, counts: faults.counts, ledger: load.ledger })}\n\n`);
  expect(verdict.faults).toEqual([]);
  expect(judgeSubscribers(subscribers, records, lastId)).toEqual([]);
  expect(await query(connection, 'SELECT * FROM log_intent')).toEqual([]);
  expect(load.ledger.groups.filter(({ told }) => told === undefined).length, 'groups given up').toBe(0);
  expect(load.ledger.silenceMs, 'milliseconds without an acknowledgement').toBeLessThan(silenceMsMax);
  if (seconds >= countsFromSeconds) expect(isEnough(load.ledger, faults.counts), 'enough happened').toBe(true);
});

function isEnough({ acknowledged }: Ledger, { killsInTransaction, ambiguous }: FaultCounts): boolean {
  return acknowledged >= acknowledgedMin && killsInTransaction >= killsInTransactionMin && ambiguous >= ambiguousMin;
}

async function lastIdOf({ store }: Cluster): Promise<string> {
  const [row] = (await query(store.connection, 'SELECT event_id FROM audit_event ORDER BY seq DESC LIMIT 1')) as {
    event_id: string;
  }[];
  return row?.event_id ?? '';
}

function zombiesEnded({ nodes }: Cluster): number {
  const texts = nodes.flatMap(({ logs }) => logs.map((text) => text()));
  return texts.reduce((count, text) => count + text.split('stood still while it held the log').length - 1, 0);
}

interface Run {
  readonly loadMs: number;
  readonly settledMs: number;
  readonly records: number;
  readonly closedAfterwards: number;
  readonly zombiesEnded: number;
  readonly subscribers: Subscribers;
  readonly ledger: Ledger;
  readonly counts: FaultCounts;
  readonly verdict: Verdict;
}

function summary({ loadMs, settledMs, records, closedAfterwards, zombiesEnded, ...run }: Run): string {
  const { ledger, counts, verdict, subscribers } = run;
  const { calls, acknowledged } = ledger;
  const moments = Object.entries(counts.killsAt).map(([name, count]) => `${name} ${count}`);
  const rows: readonly (readonly [string, string | number])[] = [
    ['seconds of load, to settle', `${(loadMs / 1000).toFixed(0)}, ${(settledMs / 1000).toFixed(1)}`],
    ['seed', seed],
    ['events acknowledged', acknowledged],
    ['longest time without one, in seconds', (ledger.silenceMs / 1000).toFixed(1)],
    ['records in the log', records],
    ['stored, not acknowledged', verdict.storedUnacknowledged],
    ['requests that failed', ledger.failures],
    ['replays answered, reuses refused', `${ledger.replays}, ${ledger.conflicts}`],
    [
      'tool calls: tried, answered',
      `${calls.length}, ${calls.filter(({ auditRef }) => auditRef !== undefined).length}`,
    ],
    ['writes that reached the tool', verdict.upstreamWrites],
    ['intents: recorded, closed as unknown', `${verdict.intents}, ${verdict.unknownOutcomes}`],
    ['  of these after the end', closedAfterwards],
    ['  known after all, too late to count', verdict.lateWords],
    ['kills, inside a transaction', `${counts.kills}, ${counts.killsInTransaction}`],
    ['  by moment', moments.join(', ')],
    ['stops of 5 s, inside a transaction', `${counts.stops}, ${counts.stopsInTransaction}`],
    ['  ended by a gateway that waited', zombiesEnded],
    ['ambiguous commits', counts.ambiguous],
    ['crashes of the store', counts.storeCrashes],
    ['checkpoints compared', ledger.checkpoints.size],
    ['records that subscribers saw', subscribers.all.map(({ seen }) => seen.length).join(', ')],
    ['  connections, repeated', sumsOf(subscribers)],
    ['lost, doubled, torn or misplaced', verdict.faults.length],
  ];
  return rows.map(([name, value]) => `${name.padEnd(38)} ${value}`).join('\n');
}

function sumsOf({ all }: Subscribers): string {
  const sum = (of: 'streams' | 'repeated') => all.reduce((total, subscriber) => total + subscriber[of], 0);
  return `${sum('streams')}, ${sum('repeated')}`;
}
