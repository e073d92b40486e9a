/** Gateways' signers, real witnesses over HTTP, and what they share, for the tests of checkpoints. */

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type Anchors, createAnchors } from '../../src/audit/anchors.ts';
import { type Checkpointer, createCheckpointer } from '../../src/audit/checkpointer.ts';
import { type LogKey, openLogKey } from '../../src/audit/log-key.ts';
import { createWitness } from '../../src/audit/witness.ts';
import { startWitnessServer } from '../../src/audit/witness-server.ts';
import { createWitnessState, openWitnessState } from '../../src/audit/witness-state.ts';
import { createWitnesses } from '../../src/audit/witnesses.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { leafHash } from '../../src/core/merkle.ts';
import { cosignature, generateNoteKey, parseSignerKey } from '../../src/core/note-key.ts';
import { type CheckpointStore, createCheckpointStore } from '../../src/storage/checkpoints.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createTileReader, type TileReader } from '../../src/storage/tiles.ts';
import { createTelemetry, type Telemetry } from '../../src/telemetry/telemetry.ts';
import { isConsistent, TreeBuilder } from '../../verifier/index.ts';
import { later, query } from './log-fixture.ts';

export interface Place {
  readonly url: string;
}

export async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-signer-'));
  later(() => rm(folder, { recursive: true }));
  return folder;
}

export function listeningTelemetry(): { telemetry: Telemetry; logText: () => string; metrics: () => Promise<string> } {
  const chunks: string[] = [];
  const destination = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  const telemetry = createTelemetry({ level: 'trace', destination });
  return {
    telemetry,
    logText: () => chunks.join(''),
    metrics: async () => (await telemetry.exposition()).text,
  };
}

export interface StoreOf {
  readonly store: CheckpointStore;
  readonly tiles: TileReader;
}

export function storeOf({ url }: Place): StoreOf {
  const pool = openReadPool({ url });
  later(() => pool.end());
  return { store: createCheckpointStore(pool), tiles: createTileReader(pool) };
}

export interface SignerOptions {
  /** Holds `log.key` and `log.checkpoint`. */
  readonly folder: string;
  readonly keyFile?: string;
  readonly key?: LogKey;
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
  readonly anchorFiles?: readonly string[];
  readonly anchorUrls?: readonly string[];
  readonly anchorIntervalMs?: number;
  readonly production?: boolean;
  readonly intervalMs?: number;
  readonly clock?: Clock;
}

export interface Signer extends StoreOf {
  readonly checkpointer: Checkpointer;
  readonly key: LogKey;
  readonly logText: () => string;
  readonly metrics: () => Promise<string>;
}

/** What a gateway does with its log at the start. */
export async function signerOn(place: Place, options: SignerOptions): Promise<Signer> {
  const { store, tiles } = storeOf(place);
  const { telemetry, ...heard } = listeningTelemetry();
  const clock = options.clock ?? systemClock;
  const key = options.key ?? (await keyOf(store, options));
  const outside = { fetch, clock, telemetry };
  const checkpointer = await createCheckpointer({
    key,
    store,
    tiles,
    file: join(options.folder, 'log.checkpoint'),
    intervalMs: options.intervalMs ?? 20,
    clock,
    telemetry,
    production: options.production ?? false,
    witnesses:
      options.witnesses === undefined
        ? undefined
        : createWitnesses({ ...outside, witnesses: options.witnesses, quorum: options.quorum, nodes: tiles.nodes }),
    anchors: anchorsOf(options, outside),
  });
  later(() => checkpointer.close());
  return { checkpointer, key, store, tiles, ...heard };
}

function keyOf(store: CheckpointStore, options: SignerOptions): Promise<LogKey> {
  return openLogKey({
    source: { file: options.keyFile ?? join(options.folder, 'log.key') },
    origin: undefined,
    freshOrigin: 'log.example/audit',
    store,
    strict: true,
    warn: (sentence) => {
      throw new Error(sentence);
    },
  });
}

function anchorsOf(
  { anchorFiles = [], anchorUrls = [], anchorIntervalMs = 0 }: SignerOptions,
  outside: { fetch: typeof fetch; clock: Clock; telemetry: Telemetry },
): Anchors | undefined {
  if (anchorFiles.length + anchorUrls.length === 0) return undefined;
  return createAnchors({ ...outside, files: anchorFiles, urls: anchorUrls, intervalMs: anchorIntervalMs });
}

export interface TestWitness {
  /** As `log_witnesses` lists it. */
  readonly entry: string;
  readonly url: string;
  readonly vkey: string;
  readonly skey: string;
  readonly stateFile: string;
  readonly stop: () => Promise<void>;
}

export interface TestWitnessOptions {
  readonly logs: readonly string[];
  readonly name?: string;
  readonly clock?: Clock;
  /** Another witness whose key and state this one takes over. */
  readonly instead?: TestWitness;
}

let witnesses = 0;

/** A witness as `talos witness` runs it, on a free port. */
export async function startWitness(options: TestWitnessOptions): Promise<TestWitness> {
  const { skey, vkey } =
    options.instead ?? generateNoteKey(options.name ?? `witness.example/${++witnesses}`, cosignature);
  const stateFile = options.instead?.stateFile ?? join(await freshFolder(), 'state');
  if (options.instead === undefined) await createWitnessState(stateFile);
  const witness = createWitness({
    ...parseSignerKey(skey),
    logs: options.logs,
    state: await openWitnessState(stateFile),
    clock: options.clock ?? systemClock,
    isConsistent: (old, next, proof) =>
      isConsistent(
        plain(old),
        plain(next),
        proof.map((hash) => Uint8Array.from(hash)),
      ),
  });
  const server = await startWitnessServer({ witness, host: '127.0.0.1', port: 0, onFailure: () => undefined });
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= server.close());
  later(stop);
  return { entry: `${vkey} ${server.url}`, url: server.url, vkey, skey, stateFile, stop };
}

function plain({ size, root }: { size: number; root: Buffer }) {
  return { size, root: Uint8Array.from(root) };
}

/** A server on loopback that answers as it is told. */
export async function startHttp(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  later(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The roots of the log at every size, from its records alone. */
export async function rootsOf({ url }: Place): Promise<Buffer[]> {
  const rows = await query(url, 'SELECT canon FROM audit_event ORDER BY seq');
  const tree = new TreeBuilder();
  const roots = [Buffer.from(await tree.root())];
  for (const { canon } of rows) {
    await tree.append([Uint8Array.from(leafHash(String(canon)))]);
    roots.push(Buffer.from(await tree.root()));
  }
  return roots;
}

/** Takes the log back to its first `size` records, as an old backup would. */
export async function rollBack({ url }: Place, size: number): Promise<void> {
  const root = (await rootsOf({ url }))[size] ?? Buffer.alloc(0);
  await query(
    url,
    `DELETE FROM audit_event WHERE seq >= ${size}`,
    `DELETE FROM log_tile WHERE (index + 1) * 256 ^ (level + 1) > ${size}`,
    `DELETE FROM log_checkpoint WHERE size > ${size}`,
    `UPDATE log_head SET next_seq = ${size}, root = '\\x${root.toString('hex')}', tree = '\\x${(await treeOf({ url }, size)).toString('hex')}'`,
  );
}

async function treeOf({ url }: Place, size: number): Promise<Buffer> {
  const rows = await query(url, `SELECT leaf_hash FROM audit_event WHERE seq < ${size} ORDER BY seq`);
  let rest = rows.map(({ leaf_hash }) => leaf_hash as Buffer);
  const nodes: Buffer[] = [];
  for (let width = 2 ** 20; width >= 1; width /= 2) {
    if ((size & width) === 0) continue;
    const tree = new TreeBuilder();
    await tree.append(rest.slice(0, width).map((hash) => Uint8Array.from(hash)));
    nodes.push(Buffer.from(await tree.root()));
    rest = rest.slice(width);
  }
  return Buffer.concat(nodes);
}
