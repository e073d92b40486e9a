/**
 * Puts every secret, the tokens of every user's account and every registration of the gateway under a fresh key of its own
 * and the key in use, one after the other, while they are used. A value that is changed meanwhile is under the key in use
 * already, and is left as it is.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import { ownDraft } from '../core/own-draft.ts';
import type { SealedSecret } from '../core/secret-change.ts';
import type { SealedClient } from '../core/upstream-client.ts';
import type { Rotation, SecretStore } from '../storage/secrets.ts';
import type { ClientStore } from '../storage/upstream-clients.ts';
import type { ConnectionStore, StoredConnection } from '../storage/upstream-connections.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { ConnectionVault } from './connections/vault.ts';
import type { SecretVault } from './secret-vault.ts';

export interface RotationOptions {
  readonly store: SecretStore;
  readonly vault: SecretVault;
  readonly tokens: RotatedTokens;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Tokens of users' accounts, and clients that they were given to, which are under the same keys. */
export interface RotatedTokens {
  readonly connections: Pick<ConnectionStore, 'after' | 'reseal'>;
  readonly clients: Pick<ClientStore, 'after' | 'reseal'>;
  readonly vault: Pick<ConnectionVault, 'renew' | 'renewClient'>;
}

type Stats = { scanned: number; rotated: number; failed: number };

/** Runs a rotation that was started, to its end. Never fails: what went wrong is in its state. */
export async function runRotation(options: RotationOptions, opId: string, targetKekId: string): Promise<void> {
  const { store, log, signal } = options;
  const stats: Stats = { scanned: 0, rotated: 0, failed: 0 };
  try {
    await renewAll(options, opId, stats, secretsOf(options));
    await renewAll(options, opId, stats, tokensOf(options));
    await renewAll(options, opId, stats, clientsOf(options));
    const status = stats.failed === 0 && !signal.aborted ? 'COMPLETED' : 'FAILED';
    await store.progress({ opId, status, ...stats });
    await recordEnd(options, { opId, status, targetKekId, ...stats });
  } catch (error) {
    log.warn({ reason: describeError(error) }, 'the rotation of the secrets was given up');
    await store.progress({ opId, status: 'FAILED', ...stats }).catch(() => undefined);
  }
}

/** What is sealed, in the order of its ids or names. */
interface Sealed<T> {
  /** Before all others. */
  readonly first: string;
  readonly idOf: (value: T) => string;
  readonly after: (id: string, limit: number) => Promise<T[]>;
  /** Whether it was still there. */
  readonly renew: (value: T) => Promise<boolean>;
  /** What the log says of one that could not be renewed. */
  readonly about: (value: T) => object;
}

async function renewAll<T>(options: RotationOptions, opId: string, stats: Stats, sealed: Sealed<T>): Promise<void> {
  const { store, log, signal } = options;
  let last = sealed.first;
  for (;;) {
    const page = await sealed.after(last, bounds.secretRotationPage);
    for (const value of page) {
      if (signal.aborted) return;
      stats.scanned++;
      try {
        if (await sealed.renew(value)) stats.rotated++;
      } catch (error) {
        stats.failed++;
        log.warn({ ...sealed.about(value), reason: describeError(error) }, 'what is sealed could not be rotated');
      }
      last = sealed.idOf(value);
    }
    if (page.length < bounds.secretRotationPage) return;
    await store.progress({ opId, status: 'RUNNING', ...stats });
  }
}

function secretsOf({ store, vault }: RotationOptions): Sealed<SealedSecret> {
  return {
    first: '',
    idOf: ({ name }) => name,
    after: store.after,
    renew: async (secret) => await store.renew(secret.secretId, await vault.renew(secret)),
    about: ({ name }) => ({ secret: name }),
  };
}

function tokensOf({ tokens: { connections, vault } }: RotationOptions): Sealed<StoredConnection> {
  return {
    first: firstUuid,
    idOf: ({ connectionId }) => connectionId,
    after: connections.after,
    renew: async (connection) => await connections.reseal(connection, await vault.renew(connection)),
    about: ({ serverId: server }) => ({ server }),
  };
}

function clientsOf({ tokens: { clients, vault } }: RotationOptions): Sealed<SealedClient> {
  return {
    first: firstUuid,
    idOf: ({ registrationId }) => registrationId,
    after: clients.after,
    renew: async (client) => await clients.reseal(client, await vault.renewClient(client)),
    about: ({ issuer }) => ({ issuer }),
  };
}

const firstUuid = '00000000-0000-0000-0000-000000000000';

async function recordEnd(
  { recorder }: RotationOptions,
  rotation: Pick<Rotation, 'opId' | 'status' | 'targetKekId' | 'scanned' | 'rotated' | 'failed'>,
): Promise<void> {
  await recorder.record({
    ...ownDraft('secrets.rotated', rotation.opId),
    outcome: rotation.status === 'COMPLETED' ? 'success' : 'failure',
    resource: { type: 'rotation', id: rotation.opId },
    meta: {
      event_type: 'administration',
      kek_id: rotation.targetKekId,
      secrets_scanned: rotation.scanned,
      secrets_rotated: rotation.rotated,
      secrets_failed: rotation.failed,
    },
  });
}
