/**
 * What tool calls under keys of clients came to. A result, which may be large, is put beside the log first; with the record
 * that closes the call's intent a few bytes make it what the key answers, so that record and answer are there together.
 */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, KeySettlement, PreparedEvent } from '../core/audit-event.ts';
import type { Envelope } from '../core/envelope.ts';
import { isUuidv7 } from '../core/uuidv7.ts';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';
import { UnwritableError } from './unwritable.ts';

/** What the key of a call answers. */
export interface CallResult {
  /** The record of the outcome. */
  readonly outcomeId: string;
  readonly kind: KeySettlement['kind'];
  /** Undefined when it is not kept. */
  readonly envelope: Envelope | undefined;
}

/** Both throw `STORE_UNAVAILABLE`. */
export interface CallResultStore {
  /** Puts down what the key of the call will answer once its outcome is on record. */
  readonly put: (intentId: string, envelope: Envelope) => Promise<void>;
  /** Undefined while the call has no outcome. */
  readonly find: (intentId: string) => Promise<CallResult | undefined>;
}

interface Row {
  readonly outcome_id: string;
  readonly outcome: KeySettlement['kind'];
  readonly envelope: Envelope | null;
}

export function createCallResultStore(pool: pg.Pool): CallResultStore {
  return {
    async put(intentId, envelope) {
      await read(pool, 'INSERT INTO call_result (intent_id, envelope) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
        intentId,
        JSON.stringify(envelope),
      ]);
    },
    async find(intentId) {
      const [row] = await read<Row>(
        pool,
        'SELECT outcome_id, outcome, envelope FROM call_result WHERE intent_id = $1 AND outcome_id IS NOT NULL',
        [intentId],
      );
      if (row === undefined) return undefined;
      return { outcomeId: row.outcome_id, kind: row.outcome, envelope: row.envelope ?? undefined };
    },
  };
}

/** SQL that settles the keys of calls whose outcomes a batch records. */
export function settleKeys(events: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  return events
    .map(({ companions }, index) => {
      const settlement = companions?.settlesKey;
      return settlement === undefined ? '' : settleSql(settlement, (committed[index] as CommittedEvent).eventId);
    })
    .join('');
}

function settleSql({ kind, intentId }: KeySettlement, outcomeId: string): string {
  // It becomes part of a statement.
  if (!isUuidv7(intentId)) throw new UnwritableError('An intent is named by its event id.');
  return `INSERT INTO call_result (intent_id, outcome_id, outcome) VALUES ('${intentId}', '${outcomeId}', '${kind}')
    ON CONFLICT (intent_id) DO UPDATE SET outcome_id = excluded.outcome_id, outcome = excluded.outcome;`;
}

/** Forgets what no key asks for any more: a result is younger than the key that it is for. Resolves with how many. */
export async function pruneCallResults(pool: pg.Pool): Promise<number> {
  const isOver = 'kept_at <= now() - make_interval(secs => $1)';
  return await pruneRows(pool, { table: 'call_result', key: 'intent_id', isOver }, [bounds.idempotencyKeptSec]);
}
