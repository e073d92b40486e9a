/**
 * The gateway's own registrations at authorization servers (RFC 7591), sealed. A registration is leased: of all gateways on
 * the database one alone registers, and puts down what it was given with the record that tells of it.
 */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { Envelope } from '../core/envelope.ts';
import { sha256 } from '../core/hash.ts';
import type { ClientChange, ClientKey, SealedClient } from '../core/upstream-client.ts';
import { read } from './db.ts';
import { sqlText } from './unwritable.ts';

/** All throw `STORE_UNAVAILABLE`. */
export interface ClientStore {
  readonly find: (key: ClientKey) => Promise<SealedClient | undefined>;
  /**
   * Whether it is ours to register: nobody else is at it, and what is there is still the registration `known`, or none. Of
   * one redirect address the newest `keptMax` are kept.
   */
  readonly claim: (key: ClientKey, known: string | undefined, lease: ClientLease) => Promise<boolean>;
  /** Ends the lease without a registration. */
  readonly release: (key: ClientKey, leaseId: string) => Promise<void>;
  /** Whether it is ours to ask if the authorization server still knows it: nobody has for so long. */
  readonly isDue: (registrationId: string, everyMs: number) => Promise<boolean>;
  /** The authorization server does not know it any more. */
  readonly forget: (registrationId: string) => Promise<void>;
  /** The registrations whose ids come after `after`, at most `limit`. */
  readonly after: (after: string, limit: number) => Promise<SealedClient[]>;
  /** Puts the same registration under another key; false when it is gone. */
  readonly reseal: (client: SealedClient, envelope: Envelope) => Promise<boolean>;
  /** How many registrations are under each key. */
  readonly countByKey: () => Promise<ReadonlyMap<string, number>>;
}

export interface ClientLease {
  readonly leaseId: string;
  readonly leaseMs: number;
  readonly keptMax: number;
}

interface ClientRow {
  readonly issuer: string;
  readonly redirect_uri: string;
  readonly registration_id: string;
  readonly envelope: Envelope;
  readonly scopes: string;
  readonly secret_ends_at: Date | null;
}

// Neither may be as long as an index takes.
function keyOf({ issuer, redirectUri }: ClientKey): Buffer {
  return sha256(JSON.stringify([issuer, redirectUri]));
}

export function createClientStore(pool: pg.Pool): ClientStore {
  const isDone = async (text: string, values: readonly unknown[]) => (await read(pool, text, values)).length > 0;
  return {
    async find(key) {
      const text = 'SELECT * FROM upstream_client WHERE client_key = $1 AND registration_id IS NOT NULL';
      const [row] = await read<ClientRow>(pool, text, [keyOf(key)]);
      return row && clientOf(row);
    },
    claim: (key, known, { leaseId, leaseMs, keptMax }) =>
      isDone(
        `WITH dropped AS (DELETE FROM upstream_client WHERE client_key IN (
             SELECT client_key FROM upstream_client WHERE redirect_uri = $3 AND client_key <> $1
             ORDER BY claimed_at DESC OFFSET $7))
         INSERT INTO upstream_client AS c (client_key, issuer, redirect_uri, lease_id, lease_until)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5::float8 / 1000))
         ON CONFLICT (client_key) DO UPDATE
           SET lease_id = excluded.lease_id, lease_until = excluded.lease_until, claimed_at = now()
           WHERE (c.lease_until IS NULL OR c.lease_until < now()) AND c.registration_id IS NOT DISTINCT FROM $6
         RETURNING 1`,
        [keyOf(key), key.issuer, key.redirectUri, leaseId, leaseMs, known ?? null, keptMax - 1],
      ),
    async release(key, leaseId) {
      await read(
        pool,
        `WITH gone AS (
           DELETE FROM upstream_client WHERE client_key = $1 AND lease_id = $2 AND registration_id IS NULL)
         UPDATE upstream_client SET lease_id = NULL, lease_until = NULL
         WHERE client_key = $1 AND lease_id = $2 AND registration_id IS NOT NULL`,
        [keyOf(key), leaseId],
      );
    },
    isDue: (registrationId, everyMs) =>
      isDone(
        `UPDATE upstream_client SET asked_at = now()
         WHERE registration_id = $1 AND asked_at < now() - make_interval(secs => $2::float8 / 1000) RETURNING 1`,
        [registrationId, everyMs],
      ),
    async forget(registrationId) {
      await read(pool, 'DELETE FROM upstream_client WHERE registration_id = $1', [registrationId]);
    },
    async after(after, limit) {
      const text = 'SELECT * FROM upstream_client WHERE registration_id > $1 ORDER BY registration_id LIMIT $2';
      return (await read<ClientRow>(pool, text, [after, limit])).map(clientOf);
    },
    reseal: ({ registrationId }, envelope) =>
      isDone('UPDATE upstream_client SET kek_id = $2, envelope = $3 WHERE registration_id = $1 RETURNING 1', [
        registrationId,
        envelope.kek_id,
        JSON.stringify(envelope),
      ]),
    async countByKey() {
      const text =
        'SELECT kek_id, count(*)::int AS count FROM upstream_client WHERE kek_id IS NOT NULL GROUP BY kek_id';
      const rows = await read<{ kek_id: string; count: number }>(pool, text);
      return new Map(rows.map(({ kek_id, count }) => [kek_id, count]));
    },
  };
}

function clientOf(row: ClientRow): SealedClient {
  return {
    issuer: row.issuer,
    redirectUri: row.redirect_uri,
    registrationId: row.registration_id,
    envelope: row.envelope,
    scopes: row.scopes,
    ...(row.secret_ends_at === null ? {} : { secretEndsAtMs: row.secret_ends_at.getTime() }),
  };
}

/** SQL for the registrations of a batch, for the transaction that appends it. */
export function changeClients(events: readonly PreparedEvent[]): string {
  return events
    .flatMap(({ companions }) => companions?.upstreamClient ?? [])
    .map(changeSql)
    .join('');
}

// It may not fail whatever the table holds: records of others commit with it.
function changeSql({ leaseId, client }: ClientChange): string {
  const { registrationId, envelope, scopes, secretEndsAtMs } = client;
  const [id, kek, sealed, asked, lease] = [
    registrationId,
    envelope.kek_id,
    JSON.stringify(envelope),
    scopes,
    leaseId,
  ].map(sqlText);
  const endsAt = secretEndsAtMs === undefined ? 'NULL' : `to_timestamp(${Number(secretEndsAtMs)}::float8 / 1000)`;
  return `UPDATE upstream_client SET registration_id = ${id}, kek_id = ${kek}, envelope = ${sealed}, scopes = ${asked},
      secret_ends_at = ${endsAt}, registered_at = now(), asked_at = now(), lease_id = NULL, lease_until = NULL
    WHERE client_key = '\\x${keyOf(client).toString('hex')}' AND lease_id = ${lease};`;
}
