/** Envelopes: the public vector, and every way in which one must not open. Keys of secrets as text. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Envelope, openEnvelope, sealEnvelope } from '../../src/core/envelope.ts';
import { parseKeyRing } from '../../src/core/key-ring.ts';
import { areReferencesSound, fillSecrets, secretNamesIn } from '../../src/core/secret-reference.ts';
import { describeVectors, vector } from '../support/vectors.ts';

interface EnvelopeVector {
  readonly title: string;
  readonly kek_b64u: string;
  readonly plaintext_utf8: string;
  readonly nonce_b64u: string;
  readonly aad_utf8: string;
  readonly envelope: Envelope;
}

describeVectors('the public vectors', () => {
  const vectors = vector<EnvelopeVector[]>('contracts/secrets/envelope_v1.json');
  it.each(vectors.map((entry) => [entry.title, entry] as const))('%s', (_, entry) => {
    const key = { id: entry.envelope.kek_id, key: Buffer.from(entry.kek_b64u, 'base64url') };
    const nonce = Buffer.from(entry.nonce_b64u, 'base64url');
    expect(sealEnvelope(key, nonce, Buffer.from(entry.plaintext_utf8), entry.aad_utf8)).toEqual(entry.envelope);
    expect(openEnvelope(key, entry.envelope, entry.aad_utf8)?.toString()).toBe(entry.plaintext_utf8);
  });
});

describe('an envelope', () => {
  const key = { id: 'k1', key: randomBytes(32) };
  const sealed = sealEnvelope(key, randomBytes(12), Buffer.from('a value'), 'purpose');
  const flipped = (text: string) => `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`;

  it('opens as what it was made for', () => {
    expect(openEnvelope(key, sealed, 'purpose')?.toString()).toBe('a value');
    const { aad_b64u: _, ...without } = sealed;
    expect(openEnvelope(key, without, 'purpose')?.toString()).toBe('a value');
  });

  it.each<[string, Partial<Envelope>]>([
    ['another nonce', { nonce_b64u: flipped(sealed.nonce_b64u) }],
    ['a nonce of another length', { nonce_b64u: 'AAAA' }],
    ['another ciphertext', { ciphertext_b64u: flipped(sealed.ciphertext_b64u) }],
    ['a shorter ciphertext', { ciphertext_b64u: sealed.ciphertext_b64u.slice(0, -4) }],
    ['no ciphertext', { ciphertext_b64u: '' }],
    ['another tag', { tag_b64u: flipped(sealed.tag_b64u) }],
    ['a tag cut short', { tag_b64u: sealed.tag_b64u.slice(0, 6) }],
    ['a tag with padding', { tag_b64u: `${sealed.tag_b64u}==` }],
    ['the name of another key', { kek_id: 'k2' }],
    ['another purpose inside', { aad_b64u: Buffer.from('other').toString('base64url') }],
  ])('does not open with %s', (_, change) => {
    expect(openEnvelope(key, { ...sealed, ...change }, 'purpose')).toBeUndefined();
  });

  it('does not open with another key or for another purpose', () => {
    expect(openEnvelope({ id: 'k1', key: randomBytes(32) }, sealed, 'purpose')).toBeUndefined();
    expect(openEnvelope(key, sealed, 'other')).toBeUndefined();
  });
});

describe('keys as text', () => {
  const hex = '11'.repeat(32);
  const other = Buffer.alloc(32, 2);

  it('the first is in use, in any spelling', () => {
    const ring = parseKeyRing(
      `# keys\nnew:${other.toString('base64')}, old:${hex}\n${Buffer.alloc(32, 3).toString('base64url')}`,
      'it',
    );
    expect(ring.active).toEqual({ id: 'new', key: other });
    expect([...ring.byId.keys()]).toEqual(['new', 'old', expect.stringMatching(/^k[0-9a-f]{12}$/)]);
  });

  it.each([
    '',
    '# nothing',
    'abc',
    hex.slice(2),
    `${hex}00`,
    `a:${hex},a:${hex}`,
    `${hex} ${hex}`,
    `a b:${hex}`,
    `:${hex}`,
    `.:${hex}`,
    'zz'.repeat(32),
  ])('refuses %j without showing it', (text) => {
    expect(() => parseKeyRing(text, 'the file')).toThrow(/^the file/);
    try {
      parseKeyRing(text, 'the file');
    } catch (error) {
      expect(String(error)).not.toContain(hex.slice(4));
    }
  });
});

describe('references', () => {
  const to = (name: string) => `\${secret:${name}}`;

  it('are found and filled in', () => {
    const text = `Bearer ${to('a.b')}-${to('c')}-${to('a.b')}`;
    expect(secretNamesIn(text)).toEqual(['a.b', 'c', 'a.b']);
    expect(
      fillSecrets(
        text,
        new Map([
          ['a.b', '$&'],
          ['c', to('a.b')],
        ]),
      ),
    ).toBe(`Bearer $&-${to('a.b')}-$&`);
  });

  it.each([to(''), to('a b'), to('../x'), '${secret:open', `${to('a')}\${secret:`, to('x'.repeat(129))])(
    '%j is none',
    (text) => {
      expect(areReferencesSound(text)).toBe(false);
    },
  );

  it.each(['', 'plain', '${NAME}', '$secret', to('a'), `x${to('a_b-c.d')}y`])('%j is sound', (text) => {
    expect(areReferencesSound(text)).toBe(true);
  });
});
