/** Users on their way to an authorization server and back: each state is brought back once, to the server it was made for. */
import type pg from 'pg';
import type { Envelope } from '../core/envelope.ts';
import type { ConnectionKey } from '../core/upstream-connection.ts';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';

export interface Consent extends ConnectionKey {
  readonly stateHash: Buffer;
  readonly envelope: Envelope;
}

/** All throw `STORE_UNAVAILABLE`. */
export interface ConsentStore {
  /** Of one user at one server the newest `keptMax` are kept. */
  readonly put: (consent: Consent, ttlSec: number, keptMax: number) => Promise<void>;
  /** The one of this state and server, unless it is too old. */
  readonly find: (stateHash: Buffer, serverId: string) => Promise<Consent | undefined>;
  /** The same, which is spent by that. */
  readonly take: (stateHash: Buffer, serverId: string) => Promise<Consent | undefined>;
  /** Forgets those that are too old. */
  readonly prune: () => Promise<number>;
}

interface ConsentRow {
  readonly state_hash: Buffer;
  readonly server_id: string;
  readonly principal_id: string;
  readonly team_id: string;
  readonly envelope: Envelope;
}

const isOpen = 'state_hash = $1 AND server_id = $2 AND expires_at > now()';

export function createConsentStore(pool: pg.Pool): ConsentStore {
  const one = async (text: string, stateHash: Buffer, serverId: string) => {
    const [row] = await read<ConsentRow>(pool, text, [stateHash, serverId]);
    return row && consentOf(row);
  };
  return {
    async put({ stateHash, serverId, principalId, teamId, envelope }, ttlSec, keptMax) {
      await read(
        pool,
        `WITH dropped AS (DELETE FROM upstream_consent WHERE state_hash IN (
             SELECT state_hash FROM upstream_consent WHERE server_id = $2 AND principal_id = $3 AND team_id = $4
             ORDER BY started_at DESC OFFSET $7))
         INSERT INTO upstream_consent (state_hash, server_id, principal_id, team_id, envelope, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))`,
        [stateHash, serverId, principalId, teamId, JSON.stringify(envelope), ttlSec, keptMax - 1],
      );
    },
    find: (stateHash, serverId) => one(`SELECT * FROM upstream_consent WHERE ${isOpen}`, stateHash, serverId),
    take: (stateHash, serverId) => one(`DELETE FROM upstream_consent WHERE ${isOpen} RETURNING *`, stateHash, serverId),
    prune: () => pruneRows(pool, { table: 'upstream_consent', key: 'state_hash', isOver: 'expires_at < now()' }),
  };
}

function consentOf({ state_hash, server_id, principal_id, team_id, envelope }: ConsentRow): Consent {
  return { stateHash: state_hash, serverId: server_id, principalId: principal_id, teamId: team_id, envelope };
}
