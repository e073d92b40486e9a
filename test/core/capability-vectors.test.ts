import { verify } from 'node:crypto';
import { expect, it } from 'vitest';
import { encodeBase64url } from '../../src/core/base64url.ts';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { isSignedByIssuer, type VerifiedCapability, verifyCapability } from '../../src/core/capability.ts';
import { type DecodedCapability, decodeCapability } from '../../src/core/capability-claims.ts';
import { type Denial, denialCode, isDenial } from '../../src/core/denial.ts';
import { didSet, didTalosFromPublicKey, parseDid } from '../../src/core/did.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { scopeCovers } from '../../src/core/scope.ts';
import { issuerOfSeed, signedText, tokenOfText } from '../support/issuer.ts';
import { describeVectors, vector, vectorText } from '../support/vectors.ts';

const charsMax = 16 * 1024;
const vectorNowSec = 1_700_000_100;

interface Meta {
  readonly peer_id: string;
  readonly keypair_seed_hex: string;
}

interface Negative {
  readonly expected_denial: string;
  readonly input: JsonValue;
}

function verifyAt(text: string, trusted: string, nowSec = vectorNowSec): Promise<VerifiedCapability | Denial> {
  return verifyCapability(tokenOfText(text), {
    trustedIssuers: didSet([trusted]),
    nowSec,
    skewSec: 60,
    tokenCharsMax: charsMax,
  });
}

function decoded(text: string): DecodedCapability {
  const result = decodeCapability(tokenOfText(text), charsMax);
  if (isDenial(result)) throw new Error(`${result.reason} ${result.detail}`);
  return result;
}

describeVectors('capability vectors', () => {
  const peer = () => vector<Meta>('capability/meta.json').peer_id;

  it('verifies the positive token and grants what it names', async () => {
    const verified = await verifyAt(vectorText('capability/positive/capability.json'), peer());
    expect(verified).toMatchObject({
      hash: vectorText('capability/positive/capability_hash.hex'),
      subject: 'did:talos:recipient',
      scopes: [{ server: 'weather', method: 'get' }],
    });
  });

  it('reproduces the canonical bytes, the signature and the hash', () => {
    const token = decoded(vectorText('capability/positive/capability.json'));
    expect(token.signedBytes.toString()).toBe(vectorText('capability/positive/capability_content_canonical.bytes'));
    expect(canonicalize(token.object)).toBe(vectorText('capability/positive/capability_token_canonical.bytes'));
    expect(token.signature.toString('hex')).toBe(vectorText('capability/positive/capability_signature.hex'));
    expect(token.hash).toBe(vectorText('capability/positive/capability_hash.hex'));
  });

  it('makes the same token from the same key', () => {
    const { sig: _, ...unsigned } = vector<JsonObject>('capability/positive/capability.json');
    const issuer = issuerOfSeed(vector<Meta>('capability/meta.json').keypair_seed_hex);
    expect(signedText(unsigned, issuer)).toBe(vectorText('capability/positive/capability_token_canonical.bytes'));
  });

  it.each(['wrong_sig', 'capability_expired', 'duplicate_keys'])('refuses %s with its reason', async (name) => {
    const { input, expected_denial } = vector<Negative>(`capability/negative/${name}.json`);
    const text = typeof input === 'string' ? input : JSON.stringify(input);
    expect(await verifyAt(text, peer())).toMatchObject({ reason: expected_denial });
  });

  it('finds the signature of the expired token good, so that only the clock refuses it', async () => {
    const { input } = vector<Negative>('capability/negative/capability_expired.json');
    expect(await isSignedByIssuer(decoded(JSON.stringify(input)))).toBe(true);
  });

  it('refuses the positive token when its issuer is not trusted', async () => {
    const text = vectorText('capability/positive/capability.json');
    const stranger = issuerOfSeed('33'.repeat(32)).did;
    expect(await verifyAt(text, stranger)).toMatchObject({ reason: 'SIGNATURE_INVALID', detail: 'issuer_untrusted' });
  });
});

// This file gives the inputs of tokens of the published schema (form A), without the tokens.
describeVectors('capability verification cases', () => {
  interface Case {
    readonly inputs: {
      readonly issuer_seed_hex: string;
      readonly subject_did: string;
      readonly scope: readonly { tool: string; actions: readonly string[] }[];
      readonly exp: number;
      readonly nonce: string;
    };
    readonly expected: Record<string, boolean>;
  }
  const file = () =>
    vector<{
      vectors: readonly Case[];
      negative_cases: readonly { test_id: string; expected_error?: { code: string; message_contains: string } }[];
    }>('contracts/sdk/capability_verify.json');

  function firstCase() {
    const [first] = file().vectors;
    if (first === undefined) throw new Error('no case');
    const { inputs, expected } = first;
    const issuer = issuerOfSeed(inputs.issuer_seed_hex);
    const { subject_did: subject, scope, exp, nonce } = inputs;
    const claims = { version: '1.0', issuer: issuer.did, subject, scope, exp, nonce };
    return { issuer, claims, expected };
  }

  const errorOf = (id: string) => file().negative_cases.find(({ test_id }) => test_id === id)?.expected_error;

  function expectError(denial: VerifiedCapability | Denial, id: string): void {
    if (!isDenial(denial)) throw new Error('accepted');
    expect(denialCode(denial.reason)).toBe(errorOf(id)?.code);
    expect(denial.message).toContain(errorOf(id)?.message_contains);
  }

  it('grants what the case names and nothing else', async () => {
    const { issuer, claims, expected } = firstCase();
    const verified = await verifyAt(signedText(claims, issuer, 'signature'), issuer.did, claims.exp - 60);
    if (isDenial(verified)) throw new Error(verified.reason);
    const allows = (method: string) =>
      verified.scopes.some((scope) => scopeCovers(scope, { server: 'filesystem', method }));
    expect(allows('read')).toBe(expected['authorize_fast_filesystem_read']);
    expect(allows('delete')).toBe(expected['authorize_fast_filesystem_delete']);
  });

  it('refuses it when it has expired', async () => {
    const { issuer, claims } = firstCase();
    expectError(
      await verifyAt(signedText(claims, issuer, 'signature'), issuer.did, claims.exp + 60),
      'capability_expired',
    );
  });

  it('refuses it when it was tampered with', async () => {
    const { issuer, claims } = firstCase();
    const tampered = signedText(claims, issuer, 'signature').replace('"read"', '"rm"');
    expectError(await verifyAt(tampered, issuer.did, claims.exp - 60), 'capability_bad_signature');
  });

  it('refuses it under another issuer’s key', async () => {
    const { claims } = firstCase();
    const forged = signedText(claims, issuerOfSeed('44'.repeat(32)), 'signature');
    expect(await verifyAt(forged, claims.issuer, claims.exp - 60)).toMatchObject({ reason: 'SIGNATURE_INVALID' });
  });
});

describeVectors('signature vectors', () => {
  interface Signatures {
    readonly tests: readonly {
      readonly name: string;
      readonly payload: JsonObject;
      readonly signature_b64: string;
      readonly key_id: string;
      readonly expected: 'valid' | 'invalid';
    }[];
  }

  function isValid(keyBase64: string, payload: JsonObject, signature: string): boolean {
    try {
      const { publicKey } = parseDid(`did:talos:${Buffer.from(keyBase64, 'base64').toString('hex')}`);
      return verify(null, Buffer.from(canonicalize(payload)), publicKey, Buffer.from(signature, 'base64'));
    } catch {
      return false;
    }
  }

  it('judges every signature over canonical JSON as stated', () => {
    for (const { name, payload, signature_b64, key_id, expected } of vector<Signatures>(
      'contracts/crypto/ed25519_signatures.json',
    ).tests) {
      expect(isValid(key_id, payload, signature_b64), name).toBe(expected === 'valid');
    }
  });

  it('reproduces the signature of a known seed', () => {
    const { vectors } = vector<{
      vectors: { inputs: { seed_hex: string; message_utf8: string }; expected: Record<string, string> }[];
    }>('contracts/sdk/signing_verify.json');
    const [first] = vectors;
    const { publicKey } = issuerOfSeed(first?.inputs.seed_hex ?? '');
    const signature = Buffer.from(first?.expected['signature_base64url'] ?? '', 'base64url');
    expect(didTalosFromPublicKey(publicKey)).toContain(first?.expected['public_key_hex']);
    expect(verify(null, Buffer.from(first?.inputs.message_utf8 ?? ''), publicKey, signature)).toBe(true);
    expect(verify(null, Buffer.from('Hello, Talos?'), publicKey, signature)).toBe(false);
    expect(encodeBase64url(signature)).toBe(first?.expected['signature_base64url']);
  });

  it('serialises as stated', () => {
    const { tests } = vector<{ tests: { input: JsonValue; expected_json: string }[] }>(
      'contracts/crypto/canonical_hash.json',
    );
    for (const { input, expected_json } of tests) expect(canonicalize(input)).toBe(expected_json);
  });
});
