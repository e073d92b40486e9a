/**
 * The end of the log as a reader of it sees it: pages by sequence number, where a cursor stands, and a hint when there is
 * more. The hint (NOTIFY) may be lost or late; whoever follows the log asks for the next page from time to time anyway.
 */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { type Cursor, splitId } from '../core/cursor.ts';
import { type DatabaseAddress, endClient, openClient, read } from './db.ts';
import { createEventReader, type LogPart, type StoredEvent } from './events.ts';
import { tailChannel } from './tail-channel.ts';

/** Records that are gone from the start of the log. */
export interface Pruned {
  /** The first sequence number behind them. */
  readonly untilSeq: number;
  /** The id of the last of them. */
  readonly lastId: string;
}

export interface Listening {
  readonly close: () => Promise<void>;
}

export interface LogTail {
  /** How many records the log has. */
  readonly head: () => Promise<number>;
  /** Records in the order of the log, as many as fit; see `EventReader.records`. */
  readonly records: (part: LogPart) => Promise<StoredEvent[]>;
  /** The id of the record at `seq`; undefined when it is not there. */
  readonly idAt: (seq: number) => Promise<string | undefined>;
  /** The sequence number of the first record after the cursor, there or yet to come. */
  readonly seqAfter: (cursor: Cursor) => Promise<number>;
  /** What is gone behind the cursor. */
  readonly prunedAfter: (cursor: Cursor) => Promise<Pruned | undefined>;
  /** What is gone at or behind `seq`. Asked after a page was read, it tells whether the page can have a hole. */
  readonly prunedFrom: (seq: number) => Promise<Pruned | undefined>;
  /** Calls `onHint` when there may be more, until it is closed. A broken connection is opened again. */
  readonly listen: (onHint: () => void) => Listening;
}

export function createLogTail(pool: pg.Pool, address: DatabaseAddress): LogTail {
  const { records } = createEventReader(pool);
  return {
    records,
    async head() {
      const [row] = await read<{ next_seq: string }>(pool, 'SELECT next_seq FROM log_head');
      return Number(row?.next_seq);
    },
    async idAt(seq) {
      const [row] = await read<{ event_id: string }>(pool, 'SELECT event_id FROM audit_event WHERE seq = $1', [seq]);
      return row?.event_id;
    },
    async seqAfter(cursor) {
      const [row] = await read<{ seq: string }>(
        pool,
        `SELECT coalesce((SELECT seq FROM audit_event WHERE event_id > $1::uuid ORDER BY event_id LIMIT 1), next_seq) AS seq
           FROM log_head`,
        [splitId(cursor)],
      );
      return Number(row?.seq);
    },
    prunedAfter: (cursor) => pruned(pool, 'last_id > $1::uuid', splitId(cursor)),
    prunedFrom: (seq) => pruned(pool, 'end_seq > $1', seq),
    listen: (onHint) => listen(address, onHint),
  };
}

async function pruned(pool: pg.Pool, condition: string, value: string | number): Promise<Pruned | undefined> {
  const [row] = await read<{ end_seq: string; last_id: string }>(
    pool,
    `SELECT end_seq, last_id FROM log_partition WHERE pruned_at IS NOT NULL AND ${condition}
      ORDER BY end_seq DESC LIMIT 1`,
    [value],
  );
  return row === undefined ? undefined : { untilSeq: Number(row.end_seq), lastId: row.last_id };
}

function listen(address: DatabaseAddress, onHint: () => void): Listening {
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function connect(): Promise<void> {
    try {
      const opened = await openClient(address, 'talos-tail');
      client = opened;
      if (isClosed) return void (await endClient(opened));
      opened.once('end', again);
      opened.on('notification', onHint);
      await opened.query(`LISTEN ${tailChannel}`);
      // What was committed while nobody listened.
      onHint();
    } catch {
      // A failure after the connection stood also ends it, and that is noticed above.
      if (client === undefined) again();
    }
  }

  function again(): void {
    client = undefined;
    if (isClosed) return;
    clearTimeout(timer);
    timer = setTimeout(() => void connecting(), bounds.streamRetryMs);
  }

  let pending = Promise.resolve();
  function connecting(): Promise<void> {
    pending = connect();
    return pending;
  }
  void connecting();

  return {
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await pending;
      if (client !== undefined) await endClient(client);
    },
  };
}
