/** Erasable values beside the records: kept with the record that commits to them, shown with it, deleted when asked. */
import type pg from 'pg';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { read } from './db.ts';
import { projectedKey } from './projected-key.ts';
import { hasOwnersRights } from './roles.ts';
import { sqlText } from './unwritable.ts';

/** SQL that keeps the values, for the transaction that appends the records. */
export function keepErasable(events: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  const rows = events.flatMap(({ companions }, index) => {
    const { eventId } = committed[index] as CommittedEvent;
    return (companions?.erasable ?? []).map(
      ({ key, salt, value }) => `('${eventId}', ${sqlText(key)}, '\\x${salt}', ${sqlText(value)})`,
    );
  });
  return rows.length === 0 ? '' : `INSERT INTO log_erasable (event_id, key, salt, value) VALUES ${rows.join(', ')};`;
}

/** What to erase: values of one event or of all events of an agent; of all keys unless one is named. */
export interface ErasureTarget {
  readonly eventId?: string;
  readonly agentId?: string;
  readonly key?: string;
}

export interface ErasableStore {
  /** Whether the database user may erase: only who has the rights of the owner. */
  readonly mayErase: () => Promise<boolean>;
  readonly count: (target: ErasureTarget) => Promise<number>;
  /** Deletes the values and returns how many there were. */
  readonly erase: (target: ErasureTarget) => Promise<number>;
  /** Makes the server forget deleted values in its files, which it otherwise does some time later. */
  readonly scrub: () => Promise<void>;
}

// Each statement stays short, whatever an agent has done.
const deletesAtOnce = 1_000;

export function createErasableStore(pool: pg.Pool): ErasableStore {
  return {
    mayErase: () => hasOwnersRights(pool),
    async count(target) {
      const values: unknown[] = [];
      const text = `SELECT count(*) FROM log_erasable v WHERE ${condition(target, values)}`;
      const [row] = await read<{ count: string }>(pool, text, values);
      return Number(row?.count);
    },
    async erase(target) {
      for (let total = 0; ; ) {
        const values: unknown[] = [];
        const rows = await read(
          pool,
          `DELETE FROM log_erasable WHERE (event_id, key) IN (
             SELECT event_id, key FROM log_erasable v WHERE ${condition(target, values)} LIMIT ${deletesAtOnce})
           RETURNING event_id`,
          values,
        );
        total += rows.length;
        if (rows.length < deletesAtOnce) return total;
      }
    },
    async scrub() {
      await read(pool, 'VACUUM log_erasable');
    },
  };
}

function condition({ eventId, agentId, key }: ErasureTarget, values: unknown[]): string {
  // Without a target nothing matches.
  if (eventId === undefined && agentId === undefined) return 'false';
  const conditions: string[] = [];
  const add = (text: string, value: string) => conditions.push(text.replace('?', `$${values.push(value)}`));
  if (eventId !== undefined) add('event_id = ?', eventId);
  if (agentId !== undefined) {
    const ofAgent = 'SELECT FROM audit_event e WHERE e.event_id = v.event_id AND e.agent_id = ?';
    add(`EXISTS (${ofAgent})`, projectedKey(agentId));
  }
  if (key !== undefined) add('key = ?', key);
  return conditions.join(' AND ');
}
