/**
 * The log's only writer: one transaction per batch, in two round trips. The first locks the head row, which makes commit
 * order equal to sequence order across all processes; the second copies the rows, moves the head and commits.
 *
 * Inside the lock the database's clock gives the time, the head gives sequence and ids. A batch whose commit is in doubt
 * is tried again under the same id and finds itself in `log_writer` if it had been committed.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { type CommittedEvent, committedEvent, type PreparedEvent, sealEvent } from '../core/audit-event.ts';
import { sha256Hex } from '../core/hash.ts';
import { CompactRange, leafHash } from '../core/merkle.ts';
import { type FullTile, type TreeEdge, tileWidth } from '../core/tree-edge.ts';
import { type IdTick, nextTick, uuidv7 } from '../core/uuidv7.ts';
import { companionStatements } from './companions.ts';
import { copyField, copyQuery } from './copy-query.ts';
import { createClient, type DatabaseAddress } from './db.ts';
import { insertTiles, readEdge } from './tiles.ts';

export interface LogWriter {
  /** Names this writer in the database for as long as the process lives. */
  readonly writerId: string;
  /** Commits the batch, or throws with its outcome open: calling again with the same batch id is then always safe. */
  readonly append: (batchId: string, events: readonly PreparedEvent[]) => Promise<CommittedEvent[]>;
  /** Whether the connection stands, as far as anybody told us. */
  readonly isConnected: () => boolean;
  /** Drops the connection, so that what is in flight fails at once, for this reason. The next `append` opens a new one. */
  readonly reset: (reason: Error) => void;
  readonly close: () => Promise<void>;
}

interface Head {
  readonly nextSeq: number;
  readonly tick: IdTick;
  readonly nowMs: number;
  readonly tree: CompactRange;
}

interface Batch {
  readonly rows: Buffer;
  readonly committed: CommittedEvent[];
  readonly tick: IdTick;
  readonly tree: CompactRange;
  readonly tiles: readonly FullTile[];
  /** SQL for what commits with the records. */
  readonly companions: string;
}

/** What a writer remembers between its batches. */
interface Session {
  readonly writerId: string;
  /** The tree's edge after this writer's last batch; stale as soon as another writer appends. */
  edge: TreeEdge | undefined;
}

export function createLogWriter(address: DatabaseAddress): LogWriter {
  const session: Session = { writerId: randomUUID(), edge: undefined };
  let client: pg.Client | undefined;
  let isReady = false;

  async function connected(): Promise<pg.Client> {
    if (client !== undefined) return client;
    const opened = createClient(address, 'talos-log');
    opened.once('end', () => {
      if (client === opened) client = undefined;
    });
    // From here on `reset` reaches it: a server that accepts a connection and then hangs must not hang the log.
    client = opened;
    isReady = false;
    await opened.connect();
    await prepareSession(opened);
    isReady = true;
    return opened;
  }

  function reset(reason: Error): void {
    const broken = client;
    client = undefined;
    if (broken !== undefined) destroy(broken, reason);
  }

  async function append(batchId: string, events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
    try {
      return await appendOn(await connected(), session, batchId, events);
    } catch (error) {
      // The transaction may be open, aborted or in doubt: a new connection starts from what is durable.
      reset(new Error('the batch before failed'));
      throw error;
    }
  }

  async function close(): Promise<void> {
    const open = client;
    client = undefined;
    if (open !== undefined) await end(open);
  }

  return { writerId: session.writerId, append, isConnected: () => client !== undefined && isReady, reset, close };
}

async function prepareSession(client: pg.Client): Promise<void> {
  // A server may be set to acknowledge commits before they are on disk; for the log that is never acceptable.
  await client.query(
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
  );
  // A gateway that was stopped or cut off while it holds the head must not stop the others.
  await client.query(`SET idle_in_transaction_session_timeout = ${bounds.headIdleTimeoutMs}`);
  await client.query("DELETE FROM log_writer WHERE seen_at < now() - interval '7 days'");
}

async function appendOn(
  client: pg.Client,
  session: Session,
  batchId: string,
  events: readonly PreparedEvent[],
): Promise<CommittedEvent[]> {
  const { writerId } = session;
  const { head, last } = await lockHead(client, writerId);
  // The head is locked: no other transaction of this writer can still be committing.
  if (last?.batchId === batchId) return await readCommitted(client, last.firstSeq, events.length);
  const edge = await edgeFor(client, session, head.nextSeq, events.length);
  // Sealing moves the edge on; until the commit is known it belongs to no log.
  session.edge = undefined;
  const batch = seal(writerId, head, edge, events);
  // Nothing is durable yet. A crash here leaves the log as it was.
  await copyQuery(client, commitStatements(writerId, batchId, head, batch), batch.rows);
  // Rows, tree and head are durable together. A crash here leaves a committed batch that nobody was told of.
  session.edge = edge;
  return batch.committed;
}

/** The tree's edge, when it is known from the batch before, or has to be because this batch completes a tile. */
async function edgeFor(
  client: pg.Client,
  session: Session,
  nextSeq: number,
  added: number,
): Promise<TreeEdge | undefined> {
  if (session.edge?.size === nextSeq) return session.edge;
  const completesTile = Math.floor((nextSeq + added) / tileWidth) > Math.floor(nextSeq / tileWidth);
  return completesTile ? await readEdge(client, nextSeq) : undefined;
}

interface HeadRow {
  readonly next_seq: string;
  readonly last_ms: string;
  readonly last_counter: number;
  readonly now_ms: string;
  readonly tree: Buffer;
}

interface WriterRow {
  readonly batch_id: string;
  readonly first_seq: string;
}

async function lockHead(
  client: pg.Client,
  writerId: string,
): Promise<{ head: Head; last: { batchId: string; firstSeq: number } | undefined }> {
  // Several statements in one message: BEGIN, the lock, and what the lock protects.
  const results = (await client.query(
    `BEGIN;
     SELECT next_seq, last_ms, last_counter, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms, tree
       FROM log_head WHERE log_id = 1 FOR UPDATE;
     SELECT batch_id, first_seq FROM log_writer WHERE writer_id = '${writerId}'`,
  )) as unknown as pg.QueryResult[];
  const row = results[1]?.rows[0] as HeadRow | undefined;
  if (row === undefined) throw new Error('The log has no head row: the database is not a migrated gateway database.');
  const nextSeq = Number(row.next_seq);
  const written = results[2]?.rows[0] as WriterRow | undefined;
  return {
    head: {
      nextSeq,
      tick: { ms: Number(row.last_ms), counter: row.last_counter },
      nowMs: Number(row.now_ms),
      tree: CompactRange.parse(nextSeq, row.tree),
    },
    last: written === undefined ? undefined : { batchId: written.batch_id, firstSeq: Number(written.first_seq) },
  };
}

/** Gives each event its place: sequence, id and time, canonical bytes, leaf. */
function seal(writerId: string, head: Head, edge: TreeEdge | undefined, events: readonly PreparedEvent[]): Batch {
  const { tree } = head;
  const committed: CommittedEvent[] = [];
  const tiles: FullTile[] = [];
  let { tick } = head;
  let rows = '';
  for (const event of events) {
    tick = nextTick(tick, head.nowMs);
    const eventId = uuidv7(tick);
    const canon = sealEvent(event, eventId, tick.ms);
    const leaf = leafHash(canon);
    const seq = head.nextSeq + committed.length;
    tree.append(leaf);
    if (edge !== undefined) tiles.push(...edge.append(leaf));
    rows += copyRow(seq, eventId, tick.ms, event, leaf, canon);
    committed.push(committedEvent(seq, eventId, canon));
  }
  return {
    rows: Buffer.from(rows, 'utf8'),
    committed,
    tick,
    tree,
    tiles,
    companions: companionStatements(writerId, events, committed),
  };
}

const columns =
  'seq, event_id, ts, outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, is_intent, leaf_hash, canon, details';

function copyRow(seq: number, eventId: string, ms: number, event: PreparedEvent, leaf: Buffer, canon: string): string {
  const { keys } = event;
  return (
    `${seq}\t${eventId}\t${new Date(ms).toISOString()}\t${keys.outcome}\t${keyField(keys.surfaceId)}` +
    `\t${keyField(keys.teamId)}\t${keyField(keys.agentId)}\t${keyField(keys.sessionId)}` +
    `\t${keyField(keys.correlationId)}\t${keyField(keys.eventType)}\t${keyField(keys.serverId)}\t${keyField(keys.tool)}\t${event.companions?.opensIntent ?? false}` +
    `\t\\\\x${leaf.toString('hex')}\t${copyField(canon)}\t${copyField(event.details)}\n`
  );
}

const keyCharsMax = 256;
const keyHashChars = 64;

/**
 * A key as it is stored and searched: no longer than an index entry can hold and without the NUL that no column can.
 * What must be changed for that ends in its hash, so that two keys never find each other's records.
 */
export function projectedKey(key: string): string {
  if (key.length <= keyCharsMax && !key.includes('\0')) return key;
  return `${key.slice(0, keyCharsMax - keyHashChars - 1).replaceAll('\0', '\ufffd')}#${sha256Hex(key)}`;
}

function keyField(key: string | null): string {
  return copyField(key === null ? null : projectedKey(key));
}

function commitStatements(writerId: string, batchId: string, head: Head, batch: Batch): string {
  const { committed, tick, tree, tiles } = batch;
  const size = committed.length;
  return `COPY audit_event (${columns}) FROM STDIN;
    UPDATE log_head SET next_seq = ${head.nextSeq + size}, last_ms = ${tick.ms}, last_counter = ${tick.counter},
      tree = '\\x${tree.serialize().toString('hex')}', root = '\\x${tree.root().toString('hex')}' WHERE log_id = 1;
    INSERT INTO log_writer (writer_id, batch_id, first_seq, size) VALUES ('${writerId}', '${batchId}', ${head.nextSeq}, ${size})
      ON CONFLICT (writer_id) DO UPDATE SET batch_id = excluded.batch_id, first_seq = excluded.first_seq,
        size = excluded.size, seen_at = now();
    ${insertTiles(tiles)}
    ${batch.companions}
    COMMIT`;
}

async function readCommitted(client: pg.Client, firstSeq: number, size: number): Promise<CommittedEvent[]> {
  const { rows } = await client.query<{ seq: string; event_id: string; canon: string }>(
    'SELECT seq, event_id, canon FROM audit_event WHERE seq >= $1 AND seq < $2 ORDER BY seq',
    [firstSeq, firstSeq + size],
  );
  await client.query('COMMIT');
  return rows.map((row) => committedEvent(Number(row.seq), row.event_id, row.canon));
}

/** Says goodbye, but not for ever: whatever was acknowledged is durable already. */
async function end(client: pg.Client): Promise<void> {
  const timer = setTimeout(
    () => destroy(client, new Error('the store did not say goodbye')),
    bounds.storeGoodbyeTimeoutMs,
  );
  try {
    await client.end();
  } finally {
    clearTimeout(timer);
  }
}

// A client whose connection is broken or in doubt is not asked to say goodbye.
function destroy(client: pg.Client, reason: Error): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(reason: Error): void } } };
  connection.stream.destroy(reason);
}
