/** Issuers with known keys, and tokens of theirs: good ones, and ones made by hand to be wrong in one way. */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { encodeBase64url } from '../../src/core/base64url.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import type { UnsignedClaims } from '../../src/core/capability-forms.ts';
import { didKeyFromPublicKey } from '../../src/core/did.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';

export interface TestIssuer {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly did: string;
}

const pkcs8Ed25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The issuer whose key comes from a seed of 32 bytes in hex. */
export function issuerOfSeed(seedHex: string): TestIssuer {
  const der = Buffer.concat([pkcs8Ed25519, Buffer.from(seedHex, 'hex')]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey);
  return { privateKey, publicKey, did: didKeyFromPublicKey(publicKey) };
}

export const trustedIssuer = issuerOfSeed('11'.repeat(32));
export const strangeIssuer = issuerOfSeed('22'.repeat(32));

/** The moment that test tokens are judged at, unless a test says otherwise. */
export const testNowSec = 1_700_000_100;

/** Claims that are good at `testNowSec`. */
export function goodClaims(changes: Partial<UnsignedClaims> = {}): UnsignedClaims {
  return {
    v: '1',
    iss: trustedIssuer.did,
    sub: 'did:talos:agent',
    scope: 'tool:weather/method:get_forecast',
    iat: testNowSec - 100,
    exp: testNowSec + 3_500,
    ...changes,
  };
}

/** Signs any object, well-formed or not, as the claims of a token. */
export function signedText(claims: object, issuer: TestIssuer = trustedIssuer, key = 'sig'): string {
  const unsigned = claims as JsonObject;
  const sig = encodeBase64url(sign(null, Buffer.from(canonicalize(unsigned)), issuer.privateKey));
  return canonicalize({ ...unsigned, [key]: sig } as JsonValue);
}

/** The same as a compact JWS. */
export function jwsOf(claims: object, header: object = { alg: 'EdDSA' }, issuer: TestIssuer = trustedIssuer): string {
  const input = [header, claims].map((part) => tokenOfText(JSON.stringify(part))).join('.');
  return `${input}.${encodeBase64url(sign(null, Buffer.from(input), issuer.privateKey))}`;
}

export function tokenOfText(text: string): string {
  return encodeBase64url(Buffer.from(text, 'utf8'));
}

/** A token that is good at `testNowSec` but for the changes. */
export function tokenWith(changes: Partial<UnsignedClaims> = {}): string {
  return tokenOfText(signedText(goodClaims(changes)));
}
