/**
 * Decentralised identifiers that are an Ed25519 public key: `did:key:z6Mk…` (multicodec 0xed01, base58btc) and
 * `did:talos:<64 hex>`. Both resolve without any look-up, and each method has exactly one spelling per key.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { decodeBase58, encodeBase58 } from './base58.ts';
import { encodeBase64url } from './base64url.ts';
import { TalosError } from './errors.ts';
import { LruMap } from './lru-map.ts';

export interface ResolvedDid {
  readonly did: string;
  readonly publicKey: KeyObject;
}

const publicKeyBytes = 32;
const multicodecEd25519 = Buffer.from([0xed, 0x01]);
const didKeyPrefix = 'did:key:z';
const didTalosPrefix = 'did:talos:';
// 'did:talos:' and 64 digits; a did:key is shorter. Bounds the work of base58 as well.
const didCharsMax = 74;
const hexKey = /^[0-9a-f]{64}$/;

/**
 * The public key of a DID. A key object is made once per DID. Throws `INVALID_REQUEST` for every other method, for a
 * second spelling of a key (upper-case hex, padded base58) and for the few keys under which anybody can sign.
 */
export function parseDid(did: string): ResolvedDid {
  const known = resolved.get(did);
  if (known !== undefined) return known;
  const raw = rawPublicKey(did);
  if (raw === undefined) throw refuse('is neither did:key:z6Mk… nor did:talos:<64 lower-case hex digits>');
  if (isWeakKey(raw)) throw refuse('names a key of small order, under which anybody can sign');
  const entry = { did, publicKey: importPublicKey(raw) };
  resolved.set(did, entry);
  return entry;
}

/** `did:key:z6Mk…` of an Ed25519 public key. Throws `INVALID_REQUEST` for another kind of key. */
export function didKeyFromPublicKey(publicKey: KeyObject): string {
  return didKey(exportPublicKey(publicKey));
}

/** `did:talos:<hex>` of an Ed25519 public key. Throws `INVALID_REQUEST` for another kind of key. */
export function didTalosFromPublicKey(publicKey: KeyObject): string {
  return didTalos(exportPublicKey(publicKey));
}

/**
 * A set of DIDs to test issuers against: each given DID in both methods, because both are the same key and an operator
 * who trusts the one trusts the other. Throws `INVALID_REQUEST` when one does not resolve.
 */
export function didSet(dids: Iterable<string>): ReadonlySet<string> {
  const set = new Set<string>();
  for (const did of dids) {
    const raw = exportPublicKey(parseDid(did).publicKey);
    set.add(didKey(raw)).add(didTalos(raw));
  }
  return set;
}

const didKey = (raw: Buffer): string => didKeyPrefix + encodeBase58(Buffer.concat([multicodecEd25519, raw]));
const didTalos = (raw: Buffer): string => didTalosPrefix + raw.toString('hex');

function rawPublicKey(did: string): Buffer | undefined {
  if (did.length > didCharsMax) return undefined;
  if (did.startsWith(didTalosPrefix)) return keyOfHex(did.slice(didTalosPrefix.length));
  if (did.startsWith(didKeyPrefix)) return keyOfMultibase(did.slice(didKeyPrefix.length));
  return undefined;
}

function keyOfHex(hex: string): Buffer | undefined {
  return hexKey.test(hex) ? Buffer.from(hex, 'hex') : undefined;
}

function keyOfMultibase(text: string): Buffer | undefined {
  const bytes = decodeBase58(text);
  if (bytes?.length !== multicodecEd25519.length + publicKeyBytes) return undefined;
  return bytes.subarray(0, multicodecEd25519.length).equals(multicodecEd25519) ? bytes.subarray(2) : undefined;
}

function importPublicKey(raw: Buffer): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: encodeBase64url(raw) }, format: 'jwk' });
}

function exportPublicKey(publicKey: KeyObject): Buffer {
  if (publicKey.asymmetricKeyType !== 'ed25519') throw refuse('needs an Ed25519 key');
  return Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
}

// The encodings of the points of small order, without the sign bit. OpenSSL 3.0, which older Node versions carry, accepts
// signatures under them that nobody made.
const weakKeys = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

function isWeakKey(raw: Buffer): boolean {
  const unsigned = Buffer.from(raw);
  unsigned.writeUInt8(unsigned.readUInt8(publicKeyBytes - 1) & 0x7f, publicKeyBytes - 1);
  return weakKeys.has(unsigned.toString('hex'));
}

const resolvedEntriesMax = 1_000;
// Issuers are few and configured; the bound is for callers that resolve what strangers send.
const resolved = new LruMap<ResolvedDid>(resolvedEntriesMax);

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The DID ${reason}.` });
}
