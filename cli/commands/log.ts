/** `talos log`: what the log has signed, and a new key for it. Both speak with the database, not with a gateway. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Checkpointer } from '../../src/audit/checkpointer.ts';
import type { LogKey } from '../../src/audit/log-key.ts';
import { readSignerKeys } from '../../src/audit/log-key.ts';
import { rotateLogKey } from '../../src/audit/log-key-rotation.ts';
import { beginEpoch } from '../../src/audit/new-epoch.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { retiredKeys, signersOf } from '../../src/audit/retired-keys.ts';
import { majorityOf, parseWitness } from '../../src/audit/witnesses.ts';
import { systemClock } from '../../src/core/clock.ts';
import { keySource, type OpenOptions, openCheckpointer, openConfiguredKey } from '../../src/open-checkpointer.ts';
import { createCheckpointStore, type StoredCheckpoint } from '../../src/storage/checkpoints.ts';
import { type DatabaseAddress, openReadPool } from '../../src/storage/db.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { migrateOrCheck } from '../../src/storage/migrate.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { withDatabase } from '../open-database.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface RotateOptions {
  readonly out: string;
  readonly dropOld?: true;
}

export function logCommand(program: Command): void {
  const log = program
    .command('log')
    .description('The log’s name, keys and checkpoints. With the embedded store the gateway must be stopped.')
    .addHelpText(
      'after',
      '\ntalos log status\ntalos log rotate-key --out <file> [--drop-old]\ntalos log new-epoch --after <file>',
    );
  const status = log
    .command('status')
    .description('Print the log’s name, size, keys, newest checkpoint and witnesses.');
  status.action(reportingUsage(status, () => withLog(printStatus)));
  const rotate = log
    .command('rotate-key')
    .description('Make a new key for the log, record it, and sign a checkpoint with the old key and the new one.')
    .requiredOption('--out <file>', 'where to write the new key; it is never overwritten')
    .option('--drop-old', 'leave the old keys out of that file: for one that others may know');
  rotate.action(reportingUsage(rotate, (options: RotateOptions) => withLog((opened) => rotateKey(opened, options))));
  const epoch = log
    .command('new-epoch')
    .description('Begin a new, empty log whose first record commits to the last checkpoint of one that is lost.')
    .requiredOption('--after <file>', 'the last checkpoint of the old log: its signed note');
  epoch.action(reportingUsage(epoch, ({ after }: EpochOptions) => withLog((opened) => newEpoch(opened, after))));
}

interface EpochOptions {
  readonly after: string;
}

interface OpenedLog extends OpenOptions {
  readonly database: DatabaseAddress;
}

/** Opens what the configuration names, as the gateway would, and closes it again. */
async function withLog(work: (opened: OpenedLog) => Promise<void>): Promise<void> {
  await withDatabase(async ({ config, database, onEnd }) => {
    await migrateOrCheck(database, 'read');
    const pool = openReadPool(database);
    onEnd(() => pool.end());
    const telemetry = createTelemetry({ level: 'warn', destination: process.stderr });
    const [store, tiles] = [createCheckpointStore(pool), createTileReader(pool)];
    await work({ config, telemetry, clock: systemClock, database, store, tiles });
  });
}

async function printStatus({ config, store }: OpenedLog): Promise<void> {
  const [{ size, origin }, signers, newest] = [await store.head(), await store.signers(), await store.latest()];
  const retired = newest === undefined ? [] : retiredKeys(signers, newest.note);
  const quorum = config.logWitnessQuorum ?? majorityOf(config.logWitnesses.length);
  const lines: [label: string, text: string][] = [
    ['origin', origin ?? 'none yet'],
    ['records', String(size)],
    ...signers.map((key): [string, string] => [retired.includes(key) ? 'retired key' : 'key', key]),
    ...checkpointLines(newest),
    ...config.logWitnesses.map((witness): [string, string] => ['witness', describeWitness(witness)]),
    ...(config.logWitnesses.length === 0 ? [] : [['quorum', String(quorum)] as [string, string]]),
    ...config.logAnchorFiles.map((file): [string, string] => ['anchor', file]),
    ...config.logAnchorUrls.map((url): [string, string] => ['anchor', new URL(url).origin]),
  ];
  for (const [label, text] of lines) console.log(`${label.padEnd(12)}${text}`);
}

function checkpointLines(newest: StoredCheckpoint | undefined): [string, string][] {
  if (newest === undefined) return [['checkpoint', 'none yet']];
  return [
    ['checkpoint', `${newest.size} records, root ${newest.root.toString('hex')}`],
    ...signersOf(newest.note).map((signature): [string, string] => ['signed by', signature]),
  ];
}

function describeWitness(text: string): string {
  const { verifier, url } = parseWitness(text);
  return `${verifier.name} ${new URL(url).origin}`;
}

async function rotateKey(opened: OpenedLog, { out, dropOld }: RotateOptions): Promise<void> {
  const { telemetry, clock, store, database } = opened;
  const signerKeys = await readSignerKeys(keySource(opened));
  if (signerKeys === undefined) throw new UsageError('The log has no key yet: its first start makes one.');
  const key = await openConfiguredKey(opened);
  const recorder = createRecorder({ writer: createLogWriter(database), clock, telemetry });
  try {
    const { verifierKey, eventId, bridge } = await rotateLogKey({
      key,
      signerKeys,
      out,
      keepOld: dropOld !== true,
      store,
      record: recorder.record,
      open: (keys: LogKey): Promise<Checkpointer> => openCheckpointer(opened, { key: keys }),
    });
    console.log(verifierKey);
    console.error(`Recorded as ${eventId}. This checkpoint is signed by the old and the new key; keep it:\n`);
    console.error(bridge.note);
    console.error(`Now give every gateway ${out} in place of the key it has, restart it, and tell whoever verifies.`);
  } finally {
    await recorder.close();
  }
}

async function newEpoch(opened: OpenedLog, file: string): Promise<void> {
  const { telemetry, clock, store, database } = opened;
  const lastNote = await readFile(file, 'utf8');
  const key = await openConfiguredKey(opened);
  const recorder = createRecorder({ writer: createLogWriter(database), clock, telemetry });
  try {
    const { eventId, checkpoint } = await beginEpoch({
      origin: key.origin,
      lastNote,
      store,
      record: recorder.record,
      open: () => openCheckpointer(opened, { key }),
    });
    console.log(checkpoint.note);
    console.error(`The log ${key.origin} begins with the record ${eventId}. Its key, for whoever verifies:\n`);
    for (const verifierKey of key.verifierKeys) console.error(verifierKey);
  } finally {
    await recorder.close();
  }
}
