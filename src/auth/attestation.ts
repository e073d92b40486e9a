/**
 * Who signed this very request: HTTP attestation v1. The signature covers the body, the method, the path, a nonce, the
 * time and the surface that the server itself found, so that it is good for this request, here, now and once.
 */
import { verify } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import { attestationInput } from '../core/attestation.ts';
import { decodeBase64url } from '../core/base64url.ts';
import { canonicalize } from '../core/canonical-json.ts';
import type { Clock } from '../core/clock.ts';
import { didTalosFromPublicKey, parseDid, type ResolvedDid } from '../core/did.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import { RecentCount } from '../core/recent-count.ts';
import { parseJsonBytesStrict } from '../core/strict-json.ts';
import type { SingleUseStore } from '../storage/single-use.ts';

/** The six headers, as they came. */
export interface AttestationHeaders {
  readonly keyId: string | undefined;
  readonly timestamp: string | undefined;
  readonly nonce: string | undefined;
  readonly signature: string | undefined;
  readonly algorithm: string | undefined;
  readonly version: string | undefined;
}

export interface AttestedRequest {
  readonly headers: AttestationHeaders;
  readonly method: string;
  /** Path and query, exactly as sent. */
  readonly target: string;
  readonly opcode: string;
  /** The bytes of the body; may throw what the request is refused with. Asked only when the headers are sound. */
  readonly readBody: () => Promise<Buffer>;
}

export interface Attestation {
  /** The DID as the signer spells it. */
  readonly did: string;
  /** The one spelling of it that counts when two are compared. */
  readonly key: string;
  readonly nonce: string;
}

export interface Attester {
  /** Who signed; says nothing yet about whether the request was seen before. Throws `AUTH_INVALID`. */
  readonly verify: (request: AttestedRequest) => Promise<Attestation>;
  /** To be called when nothing else stands in the way. Throws `REPLAY_DETECTED`. */
  readonly spend: (attestation: Attestation) => Promise<void>;
  /** How many requests of the last hour were replays, as this gateway saw them. */
  readonly replaysLastHour: () => number;
}

export interface AttesterOptions {
  readonly clock: Clock;
  /** Remembers nonces for all gateways on one database. */
  readonly nonces: Pick<SingleUseStore, 'spend'>;
}

export function createAttester({ clock, nonces }: AttesterOptions): Attester {
  const replays = new RecentCount(clock, 3_600_000);
  return {
    async verify(request) {
      const headers = soundHeaders(request.headers);
      const signer = resolve(headers.keyId);
      assertRecent(headers.timestamp, clock);
      const signature = signatureOf(headers.signature);
      const body = canonicalBody(await request.readBody());
      const input = attestationInput({ ...request, ...headers, body });
      if (!(await isSigned(input, signature, signer))) throw refuse('its signature is not valid');
      return { did: headers.keyId, key: didTalosFromPublicKey(signer.publicKey), nonce: headers.nonce };
    },
    async spend({ key, nonce }) {
      const isFresh = await nonces.spend(sha256Hex(`attestation\n${key}\n${nonce}`), bounds.attestationNonceKeptSec);
      if (isFresh) return;
      replays.note();
      throw new TalosError('REPLAY_DETECTED');
    },
    replaysLastHour: () => replays.value,
  };
}

type SoundHeaders = { readonly [K in keyof AttestationHeaders]: string };

const noncePattern = /^[ -~]{8,128}$/;
// One spelling of a number, because the text is what is signed.
const timestampPattern = /^(?:0|[1-9]\d{0,11})$/;

function soundHeaders(headers: AttestationHeaders): SoundHeaders {
  const missing = Object.values(headers).some((value) => value === undefined);
  if (missing) throw refuse('some of its headers are missing');
  const sound = headers as SoundHeaders;
  if (sound.version !== 'v1' || sound.algorithm !== 'ed25519') throw refuse('only version v1 with ed25519 is known');
  if (!noncePattern.test(sound.nonce)) throw refuse('its nonce must be 8 to 128 printable characters');
  if (!timestampPattern.test(sound.timestamp)) throw refuse('its time must be whole Unix seconds');
  return sound;
}

function resolve(did: string): ResolvedDid {
  try {
    return parseDid(did);
  } catch (error) {
    if (error instanceof TalosError) throw refuse('its key must be a did:key or did:talos of an Ed25519 key');
    throw error;
  }
}

function assertRecent(timestamp: string, clock: Clock): void {
  const apart = Math.abs(Math.floor(clock.now() / 1000) - Number(timestamp));
  if (apart > bounds.attestationSkewSec) throw refuse('it was not signed just now');
}

const signatureBytes = 64;

function signatureOf(text: string): Buffer {
  const signature = decodeBase64url(text);
  if (signature?.length === signatureBytes) return signature;
  throw refuse('its signature must be 64 bytes in base64url without padding');
}

function canonicalBody(bytes: Buffer): string {
  if (bytes.length === 0) return '';
  return canonicalize(parseJsonBytesStrict(bytes, { depthMax: bounds.jsonDepthMax }));
}

// On the thread pool, as capabilities are.
function isSigned(input: Buffer, signature: Buffer, { publicKey }: ResolvedDid): Promise<boolean> {
  return new Promise((resolved) => {
    verify(null, input, publicKey, signature, (error, valid) => resolved(error === null && valid));
  });
}

function refuse(reason: string): TalosError {
  return new TalosError('AUTH_INVALID', { message: `The attestation of the request does not hold: ${reason}.` });
}
