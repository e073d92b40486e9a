/** How often a topic has changed: one row each, so that asking whether anything is new costs next to nothing. */
import type pg from 'pg';
import { read } from './db.ts';

export type VersionedTopic = 'roles' | 'secrets' | 'tool_servers' | 'tool_pins' | 'team_policies';

/** A query for the version of a topic, also as part of another one. */
export function versionSql(topic: VersionedTopic): string {
  return `SELECT version FROM state_version WHERE topic = '${topic}'`;
}

/** A statement that counts a change, for the transaction that makes it. */
export function countUpSql(topic: VersionedTopic): string {
  return `UPDATE state_version SET version = version + 1 WHERE topic = '${topic}'`;
}

/** Throws `STORE_UNAVAILABLE`. */
export async function readVersion(pool: pg.Pool, topic: VersionedTopic): Promise<number> {
  const [row] = await read<{ version: string }>(pool, versionSql(topic));
  return Number(row?.version);
}
