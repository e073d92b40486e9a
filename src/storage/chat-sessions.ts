/** Chat sessions and the verified capabilities they are bound to, shared by all gateways on one database. */
import type pg from 'pg';
import type { VerifiedCapability } from '../core/capability.ts';
import { sha256 } from '../core/hash.ts';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';

export interface ChatSessionStore {
  /** Binds a session until the capability expires; an earlier binding of the same session is replaced. */
  readonly bind: (key: ChatSessionKey, capability: VerifiedCapability) => Promise<void>;
  readonly find: (key: ChatSessionKey) => Promise<VerifiedCapability | undefined>;
  /** Forgets those whose capability has expired. */
  readonly prune: () => Promise<number>;
}

/** Whose session it is: the id is the client's choice, and means nothing to anybody else. */
export interface ChatSessionKey {
  readonly principalId: string;
  readonly teamId: string;
  readonly sessionId: string;
}

/** Every function throws `STORE_UNAVAILABLE`. */
export function createChatSessionStore(pool: pg.Pool): ChatSessionStore {
  return {
    async bind(key, capability) {
      await read(
        pool,

        `INSERT INTO chat_session (key_hash, capability, expires_at) VALUES ($1, $2, to_timestamp($3))
         ON CONFLICT (key_hash) DO UPDATE SET capability = excluded.capability, expires_at = excluded.expires_at`,
        [hashOf(key), JSON.stringify(capability), capability.expiresAtSec],
      );
    },
    async find(key) {
      const rows = await read<{ capability: VerifiedCapability }>(
        pool,
        'SELECT capability FROM chat_session WHERE key_hash = $1',
        [hashOf(key)],
      );
      return rows[0]?.capability;
    },
    prune: () => pruneRows(pool, { table: 'chat_session', key: 'key_hash', isOver: 'expires_at < now()' }),
  };
}

function hashOf({ principalId, teamId, sessionId }: ChatSessionKey): Buffer {
  return sha256(JSON.stringify([principalId, teamId, sessionId]));
}
