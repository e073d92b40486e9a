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
import { CompactRange, leafHash } from '../core/merkle.ts';
import { type FullTile, type TreeEdge, tileWidth } from '../core/tree-edge.ts';
import { type IdTick, nextTick, uuidv7 } from '../core/uuidv7.ts';
import { asWritten, type UsedRow, usedStatement, withinUse } from './capability-use.ts';
import { companionStatements } from './companions.ts';
import { copyField, copyQuery } from './copy-query.ts';
import { createClient, type DatabaseAddress, destroyClient, endClient } from './db.ts';
import { lockWatched, writerName } from './head-lock.ts';
import { type ClosedRow, closeStatement, disownIntents, settleIntents } from './intents.ts';
import { projectedKey } from './projected-key.ts';
import { atPlaces, planBatch, readRecords, type TakenRow, takenStatement } from './reservations.ts';
import { addToRollups } from './rollups.ts';
import { tailChannel } from './tail-channel.ts';
import { insertTiles, readEdge } from './tiles.ts';

export interface LogWriter {
  /** Names this writer in the database for as long as the process lives. */
  readonly writerId: string;
  /** Commits the batch, or throws with its outcome open: calling again with the same batch id is then always safe. */
  readonly append: (batchId: string, events: readonly PreparedEvent[]) => Promise<CommittedEvent[]>;
  /**
   * What became of a batch whose `append` failed, without writing it: its records, or undefined when it was not
   * committed. Rejects when nobody can tell now.
   */
  readonly find: (batchId: string, events: readonly PreparedEvent[]) => Promise<CommittedEvent[] | undefined>;
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
  /** SQL for what commits with the records: their companions and what they add to the statistics. */
  readonly alongside: string;
}

/** What a writer remembers between its batches. */
interface Session {
  readonly writerId: string;
  /** The tree's edge after this writer's last batch; stale as soon as another writer appends. */
  edge: TreeEdge | undefined;
  /** There are partitions for the records before this sequence number. */
  roomUntil: number;
  /** The last batch whose commit was sent. */
  sent: string | undefined;
  /** The last batch whose callers were told that it is durable. */
  told: string | undefined;
}

export interface LogWriterOptions {
  /** Told of each connection of another writer that was ended because it was stopped while it held the head. */
  readonly onZombieEnded?: (backend: number) => void;
}

export function createLogWriter(address: DatabaseAddress, options: LogWriterOptions = {}): LogWriter {
  const { onZombieEnded = () => undefined } = options;
  const session: Session = { writerId: randomUUID(), edge: undefined, roomUntil: 0, sent: undefined, told: undefined };
  let client: pg.Client | undefined;
  let isReady = false;

  async function connected(): Promise<pg.Client> {
    if (client !== undefined) return client;
    const opened = createClient(address, writerName);
    opened.once('end', () => {
      if (client === opened) client = undefined;
    });
    // From here on `reset` reaches it: a server that accepts a connection and then hangs must not hang the log.
    client = opened;
    isReady = false;
    await opened.connect();
    await prepareSession(opened, session.writerId);
    isReady = true;
    return opened;
  }

  function reset(reason: Error): void {
    const broken = client;
    client = undefined;
    if (broken !== undefined) destroyClient(broken, reason);
  }

  /** Runs `step` with the head locked. Whatever it throws costs the connection. */
  async function underLock<T>(
    batchId: string,
    events: readonly PreparedEvent[],
    step: (client: pg.Client, locked: Locked) => Promise<T>,
  ): Promise<T> {
    try {
      const open = await connected();
      const lock = () => lockHead(open, session, batchId, events);
      return await step(open, await lockWatched(address, open, lock, onZombieEnded));
    } catch (error) {
      // The transaction may be open, aborted or in doubt: a new connection starts from what is durable.
      reset(new Error('the batch before failed'));
      throw error;
    }
  }

  async function append(batchId: string, events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
    const committed = await underLock(batchId, events, (open, locked) =>
      appendOn(open, session, locked, batchId, events),
    );
    session.told = batchId;
    return committed;
  }

  async function find(batchId: string, events: readonly PreparedEvent[]): Promise<CommittedEvent[] | undefined> {
    if (session.sent !== batchId) return undefined;
    const committed = await underLock(batchId, events, (open, locked) => findOn(open, locked, batchId, events));
    if (committed !== undefined) session.told = batchId;
    return committed;
  }

  async function close(): Promise<void> {
    const open = client;
    client = undefined;
    if (open !== undefined) await endClient(open);
  }

  const isConnected = () => client !== undefined && isReady;
  return { writerId: session.writerId, append, find, isConnected, reset, close };
}

async function prepareSession(client: pg.Client, writerId: string): Promise<void> {
  // A server may be set to acknowledge commits before they are on disk; for the log that is never acceptable.
  await client.query(
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
  );
  // A gateway that was stopped or cut off while it holds the head must not stop the others.
  await client.query(
    `SET idle_in_transaction_session_timeout = ${bounds.headIdleTimeoutMs};
     SET tcp_keepalives_idle = ${bounds.writerKeepAliveIdleSec};
     SET tcp_keepalives_interval = ${bounds.writerKeepAliveIntervalSec};
     SET tcp_keepalives_count = ${bounds.writerKeepAlivesMax}`,
  );
  await client.query("DELETE FROM log_writer WHERE seen_at < now() - interval '7 days'");
  await client.query(preparedStatements(writerId));
}

/** What every batch runs, planned once: for a small batch, planning would cost the server more than running it. */
function preparedStatements(writerId: string): string {
  return `
    PREPARE lock_head AS
      SELECT next_seq, last_ms, last_counter, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms, tree
        FROM log_head WHERE log_id = 1 FOR UPDATE;
    PREPARE last_batch AS SELECT batch_id, first_seq, size FROM log_writer WHERE writer_id = '${writerId}';
    PREPARE note_batch (uuid, bigint, integer) AS
      INSERT INTO log_writer (writer_id, batch_id, first_seq, size) VALUES ('${writerId}', $1, $2, $3)
        ON CONFLICT (writer_id) DO UPDATE SET batch_id = excluded.batch_id, first_seq = excluded.first_seq,
          size = excluded.size, seen_at = now()`;
}

async function appendOn(
  client: pg.Client,
  session: Session,
  { head, last, taken, closed, used }: Locked,
  batchId: string,
  events: readonly PreparedEvent[],
): Promise<CommittedEvent[]> {
  // The head is locked: no other transaction of this writer can still be committing.
  if (last?.batchId === batchId) return await readBack(client, last, events, taken);
  const { writerId } = session;
  const plan = planBatch(events, taken, head.nextSeq, withinUse(used));
  const fresh = settleIntents(plan.fresh, closed);
  const edge = await edgeFor(client, session, head.nextSeq, fresh.length);
  // Sealing moves the edge on; until the commit is known it belongs to no log.
  session.edge = undefined;
  const roomUntil = await makeRoom(client, session, head.nextSeq + fresh.length);
  const batch = seal(writerId, head, edge, fresh);
  // A batch that was given up and is there after all: whoever waited for it was told nothing.
  const untold = last === undefined || last.batchId === session.told ? '' : disownIntents(writerId, last);
  session.sent = batchId;
  // Nothing is durable yet. A crash here leaves the log as it was.
  await copyQuery(client, commitStatements(batchId, head, batch, untold), batch.rows);
  // Rows, tree and head are durable together. A crash here leaves a committed batch that nobody was told of.
  session.edge = edge;
  session.roomUntil = roomUntil;
  return plan.places === undefined ? batch.committed : await atPlaces(client, plan.places, batch.committed);
}

async function findOn(
  client: pg.Client,
  { last, taken }: Locked,
  batchId: string,
  events: readonly PreparedEvent[],
): Promise<CommittedEvent[] | undefined> {
  if (last?.batchId === batchId) return await readBack(client, last, events, taken);
  await client.query('ROLLBACK');
  return undefined;
}

/** The records of a batch that was committed before. */
async function readBack(
  client: pg.Client,
  { firstSeq, size }: WrittenBatch,
  events: readonly PreparedEvent[],
  taken: readonly TakenRow[],
): Promise<CommittedEvent[]> {
  // What is committed does not change: the others need not wait until it is read.
  await client.query('COMMIT');
  const seqs = Array.from({ length: size }, (_, index) => firstSeq + index);
  const own = await readRecords(client, seqs);
  if (own.length < size) throw new Error('A batch that was committed has been pruned since.');
  const { places } = planBatch(events, taken, firstSeq, asWritten(firstSeq, own));
  return places === undefined ? own : await atPlaces(client, places, own);
}

/** There must be a partition for every record of the batch; nearly always it has been made long before. */
async function makeRoom(client: pg.Client, session: Session, endSeq: number): Promise<number> {
  if (endSeq <= session.roomUntil) return session.roomUntil;
  const { rows } = await client.query<{ end_seq: string }>('SELECT log_extend($1) AS end_seq', [endSeq]);
  return Number(rows[0]?.end_seq);
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
  readonly size: number;
}

interface WrittenBatch {
  readonly batchId: string;
  readonly firstSeq: number;
  readonly size: number;
}

/** What is known, and stands still, while the head is locked. */
interface Locked {
  readonly head: Head;
  /** This writer's last batch, when there may be one that was committed and nobody was told of. */
  readonly last: WrittenBatch | undefined;
  /** The keys of the events that are taken. */
  readonly taken: readonly TakenRow[];
  /** The intents that were open until now, of those that the events are to close. */
  readonly closed: readonly ClosedRow[];
  /** The counters of the capabilities that the events spend. */
  readonly used: readonly UsedRow[];
}

async function lockHead(
  client: pg.Client,
  session: Session,
  batchId: string,
  events: readonly PreparedEvent[],
): Promise<Locked> {
  // A batch that its callers know of is not asked after, unless it comes again.
  const asksLast = session.sent !== session.told || session.sent === batchId;
  const [head, last, taken, closed, used] = await inOneMessage(client, [
    'EXECUTE lock_head',
    asksLast ? 'EXECUTE last_batch' : '',
    takenStatement(events),
    closeStatement(events),
    usedStatement(events),
  ]);
  const row = head?.[0] as HeadRow | undefined;
  if (row === undefined) throw new Error('The log has no head row: the database is not a migrated gateway database.');
  return {
    head: headOf(row),
    last: writtenBatch(last?.[0] as WriterRow | undefined),
    taken: (taken ?? []) as TakenRow[],
    closed: (closed ?? []) as ClosedRow[],
    used: (used ?? []) as UsedRow[],
  };
}

/** Begins a transaction and runs the statements in it, in one round trip. The rows of each; none of an empty one. */
async function inOneMessage(client: pg.Client, statements: readonly string[]): Promise<unknown[][]> {
  const asked = statements.filter((statement) => statement !== '');
  const [, ...results] = (await client.query(['BEGIN', ...asked].join('; '))) as unknown as pg.QueryResult[];
  return statements.map((statement) => (statement === '' ? [] : (results.shift()?.rows ?? [])));
}

function headOf(row: HeadRow): Head {
  const nextSeq = Number(row.next_seq);
  return {
    nextSeq,
    tick: { ms: Number(row.last_ms), counter: row.last_counter },
    nowMs: Number(row.now_ms),
    tree: CompactRange.parse(nextSeq, row.tree),
  };
}

function writtenBatch(row: WriterRow | undefined): WrittenBatch | undefined {
  if (row === undefined) return undefined;
  return { batchId: row.batch_id, firstSeq: Number(row.first_seq), size: row.size };
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
    alongside: companionStatements(writerId, events, committed) + addToRollups(events, committed),
  };
}

const columns =
  'seq, event_id, ts, outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, is_intent, leaf_hash, canon, details';

function copyRow(seq: number, eventId: string, ms: number, event: PreparedEvent, leaf: Buffer, canon: string): string {
  const { keys } = event;
  return (
    `${seq}\t${eventId}\t${new Date(ms).toISOString()}\t${keys.outcome}\t${keyField(keys.surfaceId)}` +
    `\t${keyField(keys.teamId)}\t${keyField(keys.agentId)}\t${keyField(keys.sessionId)}` +
    `\t${keyField(keys.correlationId)}\t${keyField(keys.eventType)}\t${keyField(keys.serverId)}\t${keyField(keys.tool)}\t${!event.isCounted}` +
    `\t\\\\x${leaf.toString('hex')}\t${copyField(canon)}\t${copyField(event.details)}\n`
  );
}

function keyField(key: string | null): string {
  return copyField(key === null ? null : projectedKey(key));
}

function commitStatements(batchId: string, head: Head, batch: Batch, untold: string): string {
  const { committed, tick, tree, tiles } = batch;
  const size = committed.length;
  const edge = `\\x${tree.serialize().toString('hex')} \\x${tree.root().toString('hex')}`;
  // The head moves when the rows are in: a trigger takes it from here and checks that they lead to it.
  return `SET LOCAL talos.head = '${head.nextSeq + size} ${tick.ms} ${tick.counter} ${edge}';
    COPY audit_event (${columns}) FROM STDIN;
    EXECUTE note_batch ('${batchId}', ${head.nextSeq}, ${size});
    ${insertTiles(tiles)}
    ${untold}
    ${batch.alongside}
    ${size === 0 ? '' : `NOTIFY ${tailChannel};`}
    COMMIT`;
}
