/**
 * Secrets, readable in this process only: each value under a key of its own, that under a key which is not in the
 * database. An envelope opens only as what it was made for, so rows cannot be exchanged.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import {
  type EnvelopeKey,
  envelopeKeyBytes,
  envelopeNonceBytes,
  openEnvelope,
  sealEnvelope,
} from '../core/envelope.ts';
import { describeError, TalosError } from '../core/errors.ts';
import type { KeyRing } from '../core/key-ring.ts';
import type { SealedSecret } from '../core/secret-change.ts';
import type { SecretStore } from '../storage/secrets.ts';

export interface SecretVault {
  /** The keys as they are configured now. Throws `SECRETS_UNREADABLE`. */
  readonly keys: () => Promise<KeyRing>;
  readonly seal: (name: string, value: string) => Promise<SealedSecret>;
  /** The same value under a new key of its own and the key in use. Throws `SECRETS_UNREADABLE`. */
  readonly renew: (secret: SealedSecret) => Promise<SealedSecret>;
  /** The value; undefined when there is no such secret. It is at most `secretFreshMs` old. Throws `SECRETS_UNREADABLE`. */
  readonly valueOf: (name: string) => Promise<string | undefined>;
  /** Forgets what was read of a secret, which has just changed here. */
  readonly forget: (name: string) => void;
}

export interface SecretVaultOptions {
  readonly store: Pick<SecretStore, 'get'>;
  readonly readKeys: () => Promise<KeyRing>;
  readonly clock: Pick<Clock, 'monotonic'>;
}

interface Known {
  readonly value: string | undefined;
  readonly readAtMs: number;
}

export function createSecretVault({ store, readKeys, clock }: SecretVaultOptions): SecretVault {
  const known = new Map<string, Known>();

  async function keys(): Promise<KeyRing> {
    try {
      return await readKeys();
    } catch (error) {
      throw new TalosError('SECRETS_UNREADABLE', { inside: describeError(error), cause: error });
    }
  }

  async function read(name: string): Promise<string | undefined> {
    const sealed = await store.get(name);
    return sealed === undefined ? undefined : open(sealed, await keys());
  }

  return {
    keys,
    seal: async (name, value) => seal(name, value, (await keys()).active),
    async renew(secret) {
      const ring = await keys();
      return seal(secret.name, open(secret, ring), ring.active);
    },
    async valueOf(name) {
      const found = known.get(name);
      const readAtMs = clock.monotonic();
      if (found !== undefined && readAtMs - found.readAtMs <= bounds.secretFreshMs) return found.value;
      const value = await read(name);
      known.set(name, { value, readAtMs });
      return value;
    },
    forget: (name) => void known.delete(name),
  };
}

const keyPurpose = (secretId: string) => `talos.secret.key.v1:${secretId}`;
const valuePurpose = (secretId: string, name: string) => `talos.secret.v1:${secretId}:${name}`;

function seal(name: string, value: string, active: EnvelopeKey): SealedSecret {
  const secretId = randomUUID();
  const own: EnvelopeKey = { id: secretId, key: randomBytes(envelopeKeyBytes) };
  return {
    name,
    secretId,
    wrappedKey: sealEnvelope(active, randomBytes(envelopeNonceBytes), own.key, keyPurpose(secretId)),
    envelope: sealEnvelope(
      own,
      randomBytes(envelopeNonceBytes),
      Buffer.from(value, 'utf8'),
      valuePurpose(secretId, name),
    ),
  };
}

function open({ name, secretId, wrappedKey, envelope }: SealedSecret, { byId }: KeyRing): string {
  const wrapping = byId.get(wrappedKey.kek_id);
  if (wrapping === undefined) throw unreadable(`the key ${wrappedKey.kek_id.slice(0, 64)} is not configured`);
  const key = openEnvelope(wrapping, wrappedKey, keyPurpose(secretId));
  const value = key && openEnvelope({ id: secretId, key }, envelope, valuePurpose(secretId, name));
  if (value === undefined) throw unreadable(`the secret ${name} does not open with its key`);
  return value.toString('utf8');
}

function unreadable(inside: string): TalosError {
  return new TalosError('SECRETS_UNREADABLE', { inside });
}
