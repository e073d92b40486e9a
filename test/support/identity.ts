/** Credentials of every kind, right ones and ones that are wrong in one way, made without the gateway's own code. */
import { createHmac, type KeyObject, randomUUID, sign } from 'node:crypto';
import { attestationInput } from '../../src/core/attestation.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { productionEnv } from './gateway.ts';
import { type TestIssuer, testNowSec } from './issuer.ts';

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A JWT under HS256. */
export function hs256(claims: object, secret: string | Buffer, header: object = {}): string {
  const signed = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** A JWT under RS256 or EdDSA, as the key is. */
export function signedJwt(claims: object, key: KeyObject, header: object = {}): string {
  const isEd25519 = key.asymmetricKeyType === 'ed25519';
  const signed = `${part({ alg: isEd25519 ? 'EdDSA' : 'RS256', ...header })}.${part(claims)}`;
  return `${signed}.${sign(isEd25519 ? null : 'sha256', Buffer.from(signed), key).toString('base64url')}`;
}

/** A token of the administration that is good at `testNowSec`, but for the changes. */
export function adminToken(claims: JsonObject = {}): string {
  const good = { sub: 'someone', iat: testNowSec - 10, exp: testNowSec + 3_600, permissions: ['*:*'] };
  return hs256({ ...good, ...claims }, productionEnv.AUTH_ADMIN_SECRET);
}

export interface AttestOptions {
  readonly method?: string;
  readonly path: string;
  readonly opcode: string;
  readonly body?: JsonValue;
  readonly nonce?: string;
  readonly timestamp?: number | string;
  /** What the header says, when it is not the signer's DID. */
  readonly keyId?: string;
}

/** The six headers of HTTP attestation v1, right at `testNowSec`. */
export function attest(signer: TestIssuer, options: AttestOptions): Record<string, string> {
  const { body, path: target, opcode, nonce = randomUUID(), timestamp = testNowSec, keyId = signer.did } = options;
  const input = attestationInput({
    body: body === undefined ? '' : canonicalize(body),
    method: options.method ?? (body === undefined ? 'GET' : 'POST'),
    target,
    nonce,
    timestamp: String(timestamp),
    opcode,
  });
  return {
    'x-talos-key-id': keyId,
    'x-talos-timestamp': String(timestamp),
    'x-talos-nonce': nonce,
    'x-talos-signature': sign(null, input, signer.privateKey).toString('base64url'),
    'x-talos-sig-alg': 'ed25519',
    'x-talos-sig-version': 'v1',
  };
}
