/** The end of a run: gateways leave, intents that nobody can close any more are closed, and the log is compared with the ledger. */
import { once } from 'node:events';
import { expect } from 'vitest';
import { type Reconciler, type ReconcilerOptions, startReconciler } from '../../src/audit/reconciler.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { systemClock } from '../../src/core/clock.ts';
import { type DatabaseAddress, openReadPool } from '../../src/storage/db.ts';
import { createIntentStore } from '../../src/storage/intents.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { checkLog } from '../support/log-checker.ts';
import type { Gateways } from './cluster.ts';
import type { Ledger, Load } from './load.ts';
import { judge } from './verdict.ts';

/** As an operator ends them: they finish what they have and leave by themselves. */
export async function endGateways({ nodes }: Pick<Gateways, 'nodes'>): Promise<void> {
  const codes = await Promise.all(
    nodes.map(async ({ child }) => {
      if (child === undefined) return undefined;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      return (await exited)[0] as unknown;
    }),
  );
  expect(codes).toEqual(nodes.map(() => 0));
}

/** What a gateway does with the intents of others that fell silent; here it knows that nobody is left. */
export async function closeOpenIntents(address: DatabaseAddress): Promise<number> {
  const { reconcile, close } = openReconciler(address, { intervalMs: 3_600_000, silentMs: 0 });
  let closed = 0;
  for (let round = -1; round !== 0; closed += round) round = await reconcile(0);
  await close();
  return closed;
}

export function openReconciler(
  address: DatabaseAddress,
  times: Pick<ReconcilerOptions, 'intervalMs' | 'silentMs'>,
): Pick<Reconciler, 'reconcile' | 'close'> {
  const pool = openReadPool(address);
  const writer = createLogWriter(address);
  const telemetry = createTelemetry({ level: 'silent' });
  const recorder = createRecorder({ writer, clock: systemClock, telemetry });
  const { writerId } = writer;
  const intents = createIntentStore(pool);
  const reconciler = startReconciler({ ...times, intents, writerId, recorder, log: telemetry.log });
  return {
    reconcile: reconciler.reconcile,
    async close() {
      await reconciler.close();
      await recorder.close();
      await pool.end();
    },
  };
}

/** Ends the load, reads the log back and expects it to hold what `load` was told; prints the figures of the run. */
export async function expectNoneLost(
  load: Load,
  gateways: Gateways,
  address: () => Promise<DatabaseAddress> | DatabaseAddress,
  figures: Readonly<Record<string, string | number>>,
): Promise<void> {
  const { ledger } = load;
  await load.stop();
  await endGateways(gateways);
  const database = await address();
  await closeOpenIntents(database);
  const records = await checkLog(database);
  const { faults, ...counts } = judge(records, ledger, gateways.upstream);
  const rows = { ...figuresOf(ledger), records: records.length, ...counts, ...figures, faults: faults.length };
  const lines = Object.entries(rows).map(([name, value]) => `${name.padEnd(38)} ${value}`);
  process.stdout.write(`\n${lines.join('\n')}\n\n`);
  expect(faults).toEqual([]);
  expect(ledger.groups.filter(({ told }) => told === undefined).length, 'groups given up').toBe(0);
}

function figuresOf({ acknowledged, failures, checkpoints, silenceMs }: Ledger) {
  const silence = (silenceMs / 1000).toFixed(1);
  return { acknowledged, failures, checkpoints: checkpoints.size, 'longest silence, seconds': silence };
}

/** Resolves when so many more events were acknowledged: work goes on. */
export async function acknowledgedMore({ ledger }: Load, count: number, deadlineMs = 120_000): Promise<void> {
  const enough = ledger.acknowledged + count;
  await expect.poll(() => ledger.acknowledged, { timeout: deadlineMs, interval: 5 }).toBeGreaterThanOrEqual(enough);
}
