/**
 * The log's only writer: one transaction per batch. The head row's lock makes commit order equal to sequence order across all
 * processes; with it held, the database's clock gives the time, the head gives sequence and ids. That takes two round trips:
 * one finds out where the batch goes, one copies the rows, moves the head and commits. A writer that knows where the head is
 * needs the second one alone (`known-head.ts`).
 *
 * A batch whose commit is in doubt is tried again under the same id and finds itself in `log_writer` if it had been committed.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { TreeEdge } from '../core/tree-edge.ts';
import { asWritten, withinUse } from './capability-use.ts';
import { copyQuery } from './copy-query.ts';
import { createClient, type DatabaseAddress, destroyClient, endClient } from './db.ts';
import { lockWatched, writerName } from './head-lock.ts';
import { closesAll, disownIntents, settleIntents } from './intents.ts';
import { KnownHead } from './known-head.ts';
import { type Batch, commitStatements, completesTile, seal } from './log-batch.ts';
import {
  headStatements,
  isHeadElsewhere,
  type Locked,
  lockHead,
  lockKnownHead,
  serverTime,
  type WrittenBatch,
} from './log-head.ts';
import { atPlaces, isPlain, planBatch, readRecords, type TakenRow } from './reservations.ts';
import { readEdge } from './tiles.ts';
import { isUnwritable } from './unwritable.ts';

export interface LogWriter {
  /** Names this writer in the database for as long as the process lives. */
  readonly writerId: string;
  /**
   * Commits the batch, or throws with its outcome open: calling again with the same batch id is then always safe. What it
   * throws for what the batch holds (`isUnwritable`) says that nothing was written.
   */
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

/** What a writer remembers between its batches; of where the log was, for as long as its connection stands. */
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
  readonly known: KnownHead;
}

export interface LogWriterOptions {
  /** Told of each connection of another writer that was ended because it was stopped while it held the head. */
  readonly onZombieEnded?: (backend: number) => void;
  readonly clock?: Clock;
}

export function createLogWriter(address: DatabaseAddress, options: LogWriterOptions = {}): LogWriter {
  const { onZombieEnded = () => undefined, clock = systemClock } = options;
  const session = newSession(clock);
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
    forget(session);
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

  /** Whatever `work` throws costs the connection, less what only its batch is to blame for. */
  async function onConnection<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    try {
      return await work(await connected());
    } catch (error) {
      // Who sends what can never be written must not make everybody wait for a new connection, again and again.
      if (isUnwritable(error) && (await isRolledBack())) throw error;
      // The transaction may be open, aborted or in doubt: a new connection starts from what is durable.
      reset(new Error('the batch before failed'));
      throw error;
    }
  }

  async function isRolledBack(): Promise<boolean> {
    if (client === undefined || !isReady) return false;
    return await client.query('ROLLBACK').then(
      () => true,
      () => false,
    );
  }

  const watched = <T>(open: pg.Client, work: () => Promise<T>) => lockWatched(address, open, work, onZombieEnded);

  function lock(open: pg.Client, batchId: string, events: readonly PreparedEvent[]): Promise<Locked> {
    return watched(open, () => lockHead(open, mustAskLast(session, batchId), events));
  }

  async function append(batchId: string, events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
    const committed = await onConnection(async (open) => {
      const guess = sealAhead(session, batchId, events);
      const done = guess && (await watched(open, () => appendAhead(open, session, guess, batchId, events)));
      return done ?? (await appendOn(open, session, await lock(open, batchId, events), batchId, events));
    });
    session.told = batchId;
    return committed;
  }

  async function find(batchId: string, events: readonly PreparedEvent[]): Promise<CommittedEvent[] | undefined> {
    if (session.sent !== batchId) return undefined;
    const committed = await onConnection(async (open) =>
      findOn(open, await lock(open, batchId, events), batchId, events),
    );
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

function newSession(clock: Clock): Session {
  return {
    writerId: randomUUID(),
    edge: undefined,
    roomUntil: 0,
    sent: undefined,
    told: undefined,
    known: new KnownHead(clock),
  };
}

/** What leads to another database now may lead to an older copy, with other records at the same places. */
function forget(session: Session): void {
  session.edge = undefined;
  session.roomUntil = 0;
  session.known.lost();
}

/** A batch that its callers know of is not asked after, unless it comes again. */
function mustAskLast({ sent, told }: Session, batchId: string): boolean {
  return sent !== told || sent === batchId;
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
  await client.query(headStatements(writerId));
}

/** A batch sealed for the place where the head was left. */
interface Guess {
  /** SQL that holds the head if it is still there. */
  readonly lock: string;
  readonly batch: Batch;
  readonly edge: TreeEdge | undefined;
}

/** Undefined when the head is not known, or when something must be looked up while it is locked. */
function sealAhead(session: Session, batchId: string, events: readonly PreparedEvent[]): Guess | undefined {
  const head = session.known.take();
  if (head === undefined || mustAskLast(session, batchId) || !events.every(isPlain)) return undefined;
  const edge = session.edge?.size === head.nextSeq ? session.edge : undefined;
  if (edge === undefined && completesTile(head.nextSeq, events.length)) return undefined;
  if (head.nextSeq + events.length > session.roomUntil) return undefined;
  session.edge = undefined;
  // Sealing moves the tree on.
  const lock = lockKnownHead(head);
  return { lock, batch: seal(session.writerId, head, edge, events), edge };
}

/** One round trip. Undefined when the head is elsewhere, or an intent is not open any more: nothing was written. */
async function appendAhead(
  client: pg.Client,
  session: Session,
  { lock, batch, edge }: Guess,
  batchId: string,
  events: readonly PreparedEvent[],
): Promise<CommittedEvent[] | undefined> {
  session.sent = batchId;
  try {
    const results = await copyQuery(client, lock + commitStatements(batchId, batch, closesAll(events)), batch.rows);
    session.known.left({ ...batch.end, nowMs: serverTime(results) });
  } catch (error) {
    if (!isHeadElsewhere(error)) throw error;
    session.known.lost();
    await client.query('ROLLBACK');
    return undefined;
  }
  session.edge = edge;
  return batch.committed;
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
  session.known.found(head.nextSeq);
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
  await copyQuery(client, commitStatements(batchId, batch, untold), batch.rows);
  // Rows, tree and head are durable together. A crash here leaves a committed batch that nobody was told of.
  session.edge = edge;
  session.known.left({ ...batch.end, nowMs: head.nowMs });
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
  return completesTile(nextSeq, added) ? await readEdge(client, nextSeq) : undefined;
}
