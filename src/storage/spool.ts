/**
 * Which spooled groups are in the log. The name of a group commits with its records, so that one whose commit was in
 * doubt, or that is read from the spool again after a crash, is never stored twice.
 */
import type pg from 'pg';
import type { PreparedEvent, SpoolName } from '../core/audit-event.ts';
import { read } from './db.ts';
import { UnwritableError } from './unwritable.ts';

export interface SpoolStore {
  /**
   * Which of the groups are in the log. The answer is final only when this process has committed anything since it last
   * tried to commit one of them, because until then the server may still be at it.
   */
  readonly stored: (names: readonly SpoolName[]) => Promise<readonly SpoolName[]>;
  /** The spool does not hold these any more. */
  readonly forget: (names: readonly SpoolName[]) => Promise<void>;
  /** No group of this process with a smaller number can be in the spool, nor one that was left there long ago. */
  readonly forgetBefore: (run: string, number: number) => Promise<void>;
}

// What was left behind by processes that ended without closing.
const keptDays = 90;

export function createSpoolStore(pool: pg.Pool): SpoolStore {
  return {
    async stored(names) {
      const rows = await read<{ run_id: string; number: string }>(
        pool,
        `SELECT run_id, number FROM log_spool WHERE (run_id, number) IN (${pairs})`,
        columnsOf(names),
      );
      return rows.map((row) => ({ run: row.run_id, number: Number(row.number) }));
    },
    async forget(names) {
      await read(pool, `DELETE FROM log_spool WHERE (run_id, number) IN (${pairs})`, columnsOf(names));
    },
    async forgetBefore(run, number) {
      await read(
        pool,
        `DELETE FROM log_spool WHERE (run_id = $1 AND number < $2)
            OR stored_at < now() - make_interval(days => ${keptDays})`,
        [run, number],
      );
    },
  };
}

const pairs = 'SELECT * FROM unnest($1::uuid[], $2::bigint[])';

function columnsOf(names: readonly SpoolName[]): unknown[] {
  return [names.map(({ run }) => run), names.map(({ number }) => number)];
}

/** SQL that names the groups which commit with this batch. */
export function nameSpooled(events: readonly PreparedEvent[]): string {
  const rows = events.flatMap(({ companions }) => (companions?.spooled === undefined ? [] : [row(companions.spooled)]));
  return rows.length === 0 ? '' : `INSERT INTO log_spool (run_id, number) VALUES ${rows.join(', ')};`;
}

function row({ run, number }: SpoolName): string {
  // They become part of a statement.
  if (!/^[0-9a-f-]{36}$/.test(run) || !Number.isSafeInteger(number))
    throw new UnwritableError('A spooled group has no such name.');
  return `('${run}', ${number})`;
}
