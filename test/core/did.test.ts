import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase58, encodeBase58 } from '../../src/core/base58.ts';
import { didKeyFromPublicKey, didSet, didTalosFromPublicKey, parseDid } from '../../src/core/did.ts';
import { TalosError } from '../../src/core/errors.ts';
import { issuerOfSeed, trustedIssuer } from '../support/issuer.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const rawOf = (did: string) => parseDid(did).publicKey.export({ format: 'jwk' }).x;
const didKeyOf = (bytes: readonly number[]) => `did:key:z${encodeBase58(Uint8Array.from(bytes))}`;
const raw = [...Buffer.from(trustedIssuer.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')];
const hex = Buffer.from(raw).toString('hex');

describe('parseDid', () => {
  it('finds the same key in both methods', () => {
    expect(rawOf(didKeyFromPublicKey(trustedIssuer.publicKey))).toBe(
      rawOf(didTalosFromPublicKey(trustedIssuer.publicKey)),
    );
  });

  it('makes a key object once', () => {
    expect(parseDid(trustedIssuer.did)).toBe(parseDid(trustedIssuer.did));
  });

  it.each([
    ['nothing', ''],
    ['another method', 'did:web:example.com'],
    ['upper-case hex', `did:talos:${hex.toUpperCase()}`],
    ['hex that is too short', `did:talos:${hex.slice(2)}`],
    ['hex that is too long', `did:talos:${hex}00`],
    ['a name where the key should be', 'did:talos:recipient'],
    ['an upper-case method', `did:TALOS:${hex}`],
    ['a line end', `did:talos:${hex}\n`],
    ['a fragment', `${trustedIssuer.did}#key-1`],
    ['another multibase', trustedIssuer.did.replace(':z', ':m')],
    ['a character outside base58', trustedIssuer.did.replace('z6Mk', 'z0Mk')],
    ['leading zeros', trustedIssuer.did.replace('z6Mk', 'z16Mk')],
    ['another kind of key', didKeyOf([0xec, 0x01, ...raw])],
    ['a key without its kind', didKeyOf(raw)],
    ['a key that is too short', didKeyOf([0xed, 0x01, ...raw.slice(1)])],
    ['a key that is too long', didKeyOf([0xed, 0x01, ...raw, 0])],
    ['a long text', `did:key:z${'6'.repeat(100_000)}`],
  ])('refuses %s', (_, did) => {
    expect(() => parseDid(did)).toThrow(TalosError);
    expect(() => parseDid(did)).toThrow('is neither did:key:z6Mk… nor did:talos:<64 lower-case hex digits>');
  });

  it.each([
    `00${'00'.repeat(31)}`,
    `01${'00'.repeat(31)}`,
    `01${'00'.repeat(30)}80`,
    `ec${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(31)}`,
  ])('refuses the key of small order %s', (weak) => {
    expect(() => parseDid(`did:talos:${weak}`)).toThrow('small order');
  });

  it('refuses keys of another kind', () => {
    const { publicKey } = generateKeyPairSync('x25519');
    expect(() => didKeyFromPublicKey(publicKey)).toThrow('needs an Ed25519 key');
  });

  it('round-trips every key', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const { publicKey, did } = issuerOfSeed(Buffer.from(seed).toString('hex'));
        expect(parseDid(did).publicKey.equals(publicKey)).toBe(true);
        expect(parseDid(didTalosFromPublicKey(publicKey)).publicKey.equals(publicKey)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});

describe('didSet', () => {
  it('holds each key in both spellings', () => {
    const set = didSet([trustedIssuer.did]);
    expect([...set].sort()).toEqual([trustedIssuer.did, `did:talos:${hex}`].sort());
  });

  it('refuses what does not resolve', () => {
    expect(() => didSet([trustedIssuer.did, 'did:web:example.com'])).toThrow(TalosError);
  });
});

describe('base58', () => {
  it('gives back what was encoded, leading zeros included', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(decodeBase58(encodeBase58(bytes))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  // From the Base58 draft of the IETF (draft-msporny-base58-03), section 5.
  it.each([
    ['Hello World!', '2NEpo7TZRRrLZSi2U'],
    ['The quick brown fox jumps over the lazy dog.', 'USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z'],
  ])('encodes %s', (text, encoded) => {
    expect(encodeBase58(Buffer.from(text))).toBe(encoded);
    expect(decodeBase58(encoded)?.toString()).toBe(text);
  });

  it.each(['0', 'O', 'I', 'l', '+', ' ', 'ö'])('refuses %s', (character) => {
    expect(decodeBase58(`2${character}2`)).toBeUndefined();
  });
});

describeVectors('DID vectors', () => {
  it('derives the DID of a known seed', () => {
    const file = vector<{
      vectors: { inputs: { seed_hex: string }; expected: { did?: string; public_key_hex?: string } }[];
    }>('contracts/sdk/signing_verify.json');
    for (const { inputs, expected } of file.vectors.filter(({ expected }) => expected.did !== undefined)) {
      const issuer = issuerOfSeed(inputs.seed_hex);
      expect(issuer.did).toBe(expected.did);
      expect(didTalosFromPublicKey(issuer.publicKey)).toBe(`did:talos:${expected.public_key_hex}`);
    }
  });

  it('resolves the peer of the capability vectors', () => {
    const meta = vector<{ peer_id: string; keypair_seed_hex: string }>('capability/meta.json');
    expect(parseDid(meta.peer_id).publicKey.equals(issuerOfSeed(meta.keypair_seed_hex).publicKey)).toBe(true);
  });
});
