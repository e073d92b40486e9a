/**
 * Envelopes for what is many: each under a key of its own, derived from the one in use for what it is for, so that no
 * nonce comes twice under one key and none opens as another.
 */
import { hkdfSync, randomBytes } from 'node:crypto';
import {
  type Envelope,
  type EnvelopeKey,
  envelopeKeyBytes,
  envelopeNonceBytes,
  openEnvelope,
  sealEnvelope,
} from './envelope.ts';
import type { KeyRing } from './key-ring.ts';

export function sealFor(purpose: string, plain: Uint8Array, { active }: KeyRing): Envelope {
  return sealEnvelope(ownKey(active, purpose), randomBytes(envelopeNonceBytes), plain, purpose);
}

/** Undefined when it was sealed for something else, was changed, or its key is not on the ring. */
export function openFor(purpose: string, envelope: Envelope, { byId }: KeyRing): Buffer | undefined {
  const key = byId.get(envelope.kek_id);
  return key && openEnvelope(ownKey(key, purpose), envelope, purpose);
}

function ownKey({ id, key }: EnvelopeKey, purpose: string): EnvelopeKey {
  return { id, key: Buffer.from(hkdfSync('sha256', key, '', purpose, envelopeKeyBytes)) };
}
