/** The gateway as a client that registered itself at an authorization server, as it is kept: where it is one, and sealed. */
import type { Envelope } from './envelope.ts';

/** Which client: one for each authorization server and address that it sends users back to. */
export interface ClientKey {
  readonly issuer: string;
  readonly redirectUri: string;
}

export interface SealedClient extends ClientKey {
  /** A UUID, new with each registration. */
  readonly registrationId: string;
  readonly envelope: Envelope;
  /** Those that it may ask for, separated by blanks. */
  readonly scopes: string;
  /** In Unix milliseconds; undefined when its secret does not end, or there is none. */
  readonly secretEndsAtMs?: number;
}

/** A registration that was made under a lease, and counts as long as the lease is held. */
export interface ClientChange {
  readonly leaseId: string;
  readonly client: SealedClient;
}
