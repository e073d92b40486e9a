/**
 * How often capabilities under `max_calls` were used. The counter is read under the head's lock and moves with the record
 * of the intent, or not at all: whoever is told that a call may be sent has it counted durably, in every process.
 */
import type pg from 'pg';
import { type CommittedEvent, type PreparedEvent, type Spend, sealEvent } from '../core/audit-event.ts';
import { sha256Hex } from '../core/hash.ts';
import { pruneRows } from './prune.ts';
import { UnwritableError } from './unwritable.ts';

export interface UsedRow {
  readonly link_hash: string;
  readonly used: string;
}

/** Whether an event may be written at a place, its counters allowing; asked in the order of the events. */
export type Admits = (event: PreparedEvent, seq: number) => boolean;

function spendsOf(events: readonly PreparedEvent[]): Spend[] {
  return events.flatMap(({ companions }) => companions?.spends ?? []);
}

/** A SELECT of the counters that the batch would move; empty when it moves none. */
export function usedStatement(events: readonly PreparedEvent[]): string {
  const links = new Set(spendsOf(events).map(({ linkHash }) => bytea(linkHash)));
  if (links.size === 0) return '';
  return `SELECT encode(link_hash, 'hex') AS link_hash, used FROM capability_use WHERE link_hash IN (${[...links].join(', ')})`;
}

/** Admits as long as every counter of an event has room, counting what it admits. */
export function withinUse(rows: readonly UsedRow[]): Admits {
  const used = new Map(rows.map((row) => [row.link_hash, Number(row.used)]));
  const usedOf = (linkHash: string) => used.get(linkHash) ?? 0;
  return ({ companions: { spends = [] } = {} }) => {
    if (spends.some(({ linkHash, max }) => usedOf(linkHash) >= max)) return false;
    for (const { linkHash } of spends) used.set(linkHash, usedOf(linkHash) + 1);
    return true;
  };
}

/**
 * Admits what a batch that was committed before has admitted, which its counters do not tell any more: of events that
 * spend, those whose record is there. Of two that are alike in all, the later one is never admitted alone.
 */
export function asWritten(firstSeq: number, written: readonly CommittedEvent[]): Admits {
  return (event, seq) => {
    if (event.companions?.spends === undefined) return true;
    const there = written[seq - firstSeq];
    return there !== undefined && sha256Hex(sealEvent(event, there.eventId, there.timeMs)) === there.eventHash;
  };
}

/** SQL that counts what the events spend. */
export function spend(events: readonly PreparedEvent[]): string {
  const sums = new Map<string, Spend & { count: number }>();
  for (const one of spendsOf(events)) {
    sums.set(one.linkHash, { ...one, count: (sums.get(one.linkHash)?.count ?? 0) + 1 });
  }
  if (sums.size === 0) return '';
  const rows = [...sums.values()].map((sum) => `(${bytea(sum.linkHash)}, ${sum.count}, ${sum.expiresAtSec})`);
  return `INSERT INTO capability_use (link_hash, used, expires_sec) VALUES ${rows.join(', ')}
    ON CONFLICT (link_hash) DO UPDATE SET used = capability_use.used + excluded.used;`;
}

function bytea(hash: string): string {
  // It becomes part of a statement.
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new UnwritableError('A capability is named by its SHA-256.');
  return `'\\x${hash}'`;
}

// Clocks differ, and nothing hurries.
const graceSec = 86_400;

/** Forgets the counters of capabilities that have expired. Resolves with how many. */
export async function pruneCapabilityUse(pool: pg.Pool): Promise<number> {
  const isOver = `expires_sec < extract(epoch FROM now()) - ${graceSec}`;
  return await pruneRows(pool, { table: 'capability_use', key: 'link_hash', isOver });
}
