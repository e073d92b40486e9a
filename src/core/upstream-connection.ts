/** The connection of a user's account to a tool server, as it is kept: whose it is, and sealed tokens. */
import type { Envelope } from './envelope.ts';

/** Whose connection, to which server. */
export interface ConnectionKey {
  readonly serverId: string;
  readonly principalId: string;
  readonly teamId: string;
}

export function isSameConnection(one: ConnectionKey, other: ConnectionKey): boolean {
  return one.serverId === other.serverId && one.principalId === other.principalId && one.teamId === other.teamId;
}

export interface SealedConnection extends ConnectionKey {
  /** A UUID, new whenever the user connects. */
  readonly connectionId: string;
  /** hex sha256 of what the tokens are for (`tokenPurpose`). */
  readonly purpose: string;
  readonly envelope: Envelope;
  /** Separated by blanks. */
  readonly scopes: string;
  /** When the access token ends, in Unix milliseconds; undefined when nobody said. */
  readonly expiresAtMs?: number;
  /** Whether there is a refresh token. */
  readonly isRenewable: boolean;
}

export type ConnectionChange =
  | { readonly kind: 'put'; readonly connection: SealedConnection }
  | { readonly kind: 'delete'; readonly key: ConnectionKey };
